//! The ensemble file on the page of every system is one.

use crate::model::Model;
use routewright_decoder::ensemble::EnsembleFile;
use routewright_decoder::fuse::ALL;
use std::path::Path;

#[test]
fn the_ensemble_file_of_every_page_is_read_and_its_parameters_are_known() {
    let members = [Model::text("stories", "a", 0.9).arc(), Model::text("baby", "a", 0.9).arc()];
    let dir = tempfile::tempdir().unwrap();
    for row in ALL {
        let page = format!("../docs/fusion/{}.md", row.name);
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect(row.name);
        let path = dir.path().join(row.name);
        std::fs::write(&path, block).unwrap();
        let file = EnsembleFile::read(&path).unwrap();
        assert_eq!((file.system.as_str(), file.members.len()), (row.name, 2));
        let params = serde_json::Value::Object(file.params);
        // A member made of a function has no embeddings, and no policy lies here.
        match row.build(&params, &members) {
            Ok(_) => {}
            Err(error) => {
                let reason = error.to_string();
                let known = ["embedding", "cannot read", "router", "weights`"];
                assert!(known.iter().any(|known| reason.contains(known)), "{}: {reason}", row.name);
                assert!(!reason.contains("unknown field"), "{reason}");
            }
        }
    }
}
