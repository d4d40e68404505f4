//! Answers as people read them: tables and key-value lists.

use super::client::AdminError;
use serde_json::Value;
use std::io::Write;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The server's JSON.
    Json,
    /// For people.
    Text,
}

/// Prints a list as a table with these columns; `a.b` is the field `b` of the field `a`.
pub(super) fn table(
    out: &mut impl Write,
    form: Form,
    items: Vec<Value>,
    columns: &[&str],
) -> Result<(), AdminError> {
    if form == Form::Json {
        return json(out, &serde_json::json!({ "items": items, "next": null }));
    }
    let title = |column: &&str| column.rsplit('.').next().unwrap_or(column).to_uppercase();
    let mut rows = vec![columns.iter().map(title).collect::<Vec<_>>()];
    for item in &items {
        rows.push(columns.iter().map(|column| printable(field(item, column))).collect());
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|index| rows.iter().map(|row| row[index].chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(out, cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Prints one thing: a line per field.
pub(super) fn fields(out: &mut impl Write, form: Form, item: &Value) -> Result<(), AdminError> {
    if form == Form::Json {
        return json(out, item);
    }
    let mut lines = Vec::new();
    flatten("", item, &mut lines);
    let width = lines.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    for (key, value) in lines {
        line(out, format!("{key:width$}  {value}").trim_end())?;
    }
    Ok(())
}

/// Prints a sentence, or JSON if that is asked for and there is any.
pub(super) fn sentence(
    out: &mut impl Write,
    form: Form,
    answer: &Value,
    words: &str,
) -> Result<(), AdminError> {
    match form {
        Form::Json if answer.is_null() => Ok(()),
        Form::Json => json(out, answer),
        Form::Text => line(out, words),
    }
}

/// Prints a line.
pub(super) fn line(out: &mut impl Write, text: &str) -> Result<(), AdminError> {
    writeln!(out, "{text}").map_err(AdminError::Output)
}

fn json(out: &mut impl Write, value: &Value) -> Result<(), AdminError> {
    // `{:#}` prints indented.
    line(out, &format!("{value:#}"))
}

fn flatten(prefix: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let Value::Object(fields) = value else {
        lines.push((prefix.to_owned(), printable(value)));
        return;
    };
    for (key, value) in fields {
        let key = harmless(key);
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        flatten(&key, value, lines);
    }
}

fn field<'a>(item: &'a Value, column: &str) -> &'a Value {
    column.split('.').fold(item, |found, name| &found[name])
}

/// A value as text. Control characters could act on the terminal, so they are shown instead.
pub(super) fn printable(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    harmless(&text)
}

fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn printed(print: impl FnOnce(&mut Vec<u8>) -> Result<(), AdminError>) -> String {
        let mut out = Vec::new();
        print(&mut out).expect("a buffer takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_table_is_aligned_and_harmless() {
        let items = vec![
            json!({"slug": "shop", "project": null, "size": 5}),
            json!({"slug": "a\u{1b}[31m", "project": "WEB", "size": 12345}),
        ];
        let text = printed(|out| table(out, Form::Text, items, &["slug", "project", "size"]));
        assert_eq!(
            text,
            "SLUG    PROJECT  SIZE\nshop    -        5\na\u{fffd}[31m  WEB      12345\n"
        );
    }

    #[test]
    fn one_thing_is_a_line_per_field() {
        let item = json!({"id": 1, "usage": {"bytes": 10}});
        let text = printed(|out| fields(out, Form::Text, &item));
        assert_eq!(text, "id           1\nusage.bytes  10\n");
        let text = printed(|out| fields(out, Form::Json, &item));
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), item);
    }

    #[test]
    fn a_name_of_a_field_does_not_act_on_the_terminal() {
        let text = printed(|out| fields(out, Form::Text, &json!({"a\u{1b}[2J": {"b\r": 1}})));
        assert_eq!(text, "a\u{fffd}[2J.b\u{fffd}  1\n");
    }
}
