//! The JSON document that describes one work function to hosts, in the form of the guest ABI's
//! custom section.

use std::fmt::Write;

use syn::ext::IdentExt;

use crate::signature::WorkFunction;
use crate::type_text::type_text;

const ABI: u32 = 1;

pub(crate) fn document(function: &WorkFunction) -> String {
    let name = string(&function.ident.unraw().to_string());
    let parameters = function.arguments.iter().map(|argument| {
        let (name, ty) = (string(&argument.name), string(&argument.text()));
        format!(r#"{{"name":{name},"type":{ty}}}"#)
    });
    let parameters = parameters.collect::<Vec<_>>().join(",");
    let returns = string(
        &function
            .outcome
            .as_ref()
            .map_or_else(|| "()".to_owned(), type_text),
    );
    let docs = string(&function.docs);
    format!(
        concat!(
            r#"{{"abi":{abi},"functions":[{{"name":{name},"params":[{parameters}],"#,
            r#""returns":{returns},"docs":{docs}}}]}}"#,
        ),
        abi = ABI,
        name = name,
        parameters = parameters,
        returns = returns,
        docs = docs,
    )
}

/// `text` as a JSON string.
fn string(text: &str) -> String {
    let mut json = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\n' => json.push_str("\\n"),
            '\t' => json.push_str("\\t"),
            control if control.is_control() => {
                write!(json, "\\u{:04x}", u32::from(control)).expect("a string takes all text");
            }
            character => json.push(character),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn a_function_is_described_as_it_was_written() {
        let function = syn::parse2(quote! {
            /// Adds.
            ///
            /// Says "so".
            pub const fn add(mut a: u32, r#type: Option<(u8, &str)>, _: ()) -> Vec<u8> {}
        });
        assert_eq!(
            document(&function.unwrap()),
            concat!(
                r#"{"abi":1,"functions":[{"name":"add","params":[{"name":"a","type":"u32"},"#,
                r#"{"name":"type","type":"Option<(u8, &str)>"},{"name":"_","type":"()"}],"#,
                r#""returns":"Vec<u8>","docs":"Adds.\n\nSays \"so\"."}]}"#,
            ),
        );
    }

    #[test]
    fn a_function_without_result_returns_the_unit() {
        let function = syn::parse2(quote!(
            fn nothing() {}
        ))
        .unwrap();
        let expected =
            r#"{"abi":1,"functions":[{"name":"nothing","params":[],"returns":"()","docs":""}]}"#;
        assert_eq!(document(&function), expected);
    }

    #[test]
    fn any_text_becomes_a_json_string() {
        assert_eq!(
            string("a\"\\\n\t\u{1}\u{9f}é"),
            r#""a\"\\\n\t\u0001\u009fé""#
        );
    }
}
