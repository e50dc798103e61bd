//! The JSON writer, read back by another JSON implementation.

use innkeep::cli::json::Json;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

/// Any JSON value that this program could write: whole numbers, no fractions.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((any::<String>(), inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn write(json: &mut Json<'_, String>, value: &Value) {
    match value {
        Value::Null => json.null(),
        Value::Bool(flag) => json.boolean(*flag),
        Value::Number(number) => json.number(number.as_u64().expect("a whole number")),
        Value::String(text) => json.string(text),
        Value::Array(items) => {
            json.begin_array();
            items.iter().for_each(|item| write(json, item));
            json.end_array();
        }
        Value::Object(members) => {
            json.begin_object();
            for (name, member) in members {
                json.key(name);
                write(json, member);
            }
            json.end_object();
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(values in vec(value(), 1..4)) {
        let mut text = String::new();
        let mut json = Json::new(&mut text);
        for value in &values {
            write(&mut json, value);
            json.end_text();
        }
        let read: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
        prop_assert_eq!(read.expect("JSON"), values);
    }

    #[test]
    fn no_control_character_is_written_but_the_newline_at_the_end(text: String) {
        let mut written = String::new();
        let mut json = Json::new(&mut written);
        json.string(&text);
        json.end_text();
        let body = written.strip_suffix('\n').expect("a newline");
        prop_assert!(!body.contains(char::is_control), "{:?}", body);
    }
}
