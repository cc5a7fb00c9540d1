//! The schema of a body, derived from its type.

use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

/// Where the schemas are in the document.
const COMPONENTS: &str = "/components/schemas";

/// The type of a body, for its schema.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body(fn(&mut SchemaGenerator) -> Schema);

impl Body {
    /// The body of a type.
    pub(crate) const fn of<T: JsonSchema>() -> Self {
        Self(|generator| generator.subschema_for::<T>())
    }
}

/// Makes the schemas of bodies that are read, or of those that are written.
#[derive(Debug)]
pub(crate) struct Schemas(SchemaGenerator);

impl Schemas {
    fn new(contract: Contract) -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = COMPONENTS.into();
            settings.meta_schema = None;
            settings.contract = contract;
        });
        Self(settings.into_generator())
    }

    /// The schema of a body: a reference to one of the components.
    pub(crate) fn of(&mut self, body: Body) -> Value {
        (body.0)(&mut self.0).into()
    }
}

/// Has `make` ask for the schemas of requests and of replies, in this order; returns what it makes, and the components
/// that its references lead to.
pub(crate) fn schemas<T>(make: impl FnOnce(&mut Schemas, &mut Schemas) -> T) -> (T, Map<String, Value>) {
    let (mut read, mut written) = (Schemas::new(Contract::Deserialize), Schemas::new(Contract::Serialize));
    let made = make(&mut read, &mut written);
    let mut components = read.0.take_definitions(true);
    components.extend(written.0.take_definitions(true));
    components.values_mut().for_each(unwrap_lines);
    (made, components)
}

/// Joins the lines of descriptions: where a doc comment is wrapped means nothing.
fn unwrap_lines(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "description" => *text = text.replace('\n', " "),
                    field => unwrap_lines(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unwrap_lines),
        _ => {}
    }
}
