//! Bodies of requests in the shapes that clients send, for tests: a name and a body a line.

/// Bodies of every dialect, by name.
pub(crate) fn requests() -> Vec<(&'static str, &'static str)> {
    let of_file = include_str!("corpus/requests.tsv").lines().filter_map(|line| line.split_once('\t'));
    // Blanks that a line cannot have.
    let blanks = [
        ("blanks", "\r\n {\n  \"temperature\" : 0.70 ,\n\t\"model\"\t:  \"m\" ,\n  \"messages\" : [ ]\n} \n"),
        ("empty with blanks", " { \n } "),
    ];
    let found: Vec<_> = of_file.chain(blanks).collect();
    assert!(found.len() > 38, "{} bodies only", found.len());
    found
}
