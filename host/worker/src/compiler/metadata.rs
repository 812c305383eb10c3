//! The custom section in which a guest's SDK says what its functions take and return.
//!
//! The linker puts the sections of all object files one behind the other, so it is a stream of JSON
//! documents. It is the module's word and only ever shown or compared: a section that cannot be read is a
//! warning.

use std::collections::HashMap;

use serde::Deserialize;
use stockade_wire::module_info::{Param, Signature};

use crate::abi;

/// What is known of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) signature: Signature,
    pub(super) docs: String,
}

/// What is known of all functions, by name.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub(super) functions: HashMap<String, Described>,
    pub(super) warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    abi: u32,
    #[serde(default)]
    functions: Vec<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    params: Vec<Param>,
    #[serde(default)]
    returns: String,
    #[serde(default)]
    docs: String,
}

impl Metadata {
    /// Adds what one section says.
    ///
    /// # Errors
    /// When the section is of another version of the ABI: then nothing else in the module can be trusted to
    /// mean what it seems to.
    pub(super) fn read(&mut self, section: &[u8]) -> Result<(), String> {
        for document in serde_json::Deserializer::from_slice(section).into_iter::<Document>() {
            let document = match document {
                Ok(document) => document,
                Err(error) => {
                    self.warnings.push(format!(
                        "its section `{}` cannot be read, so types are not checked: {error}",
                        abi::METADATA_SECTION
                    ));
                    return Ok(());
                }
            };
            if document.abi != abi::VERSION {
                return Err(format!(
                    "its functions speak version {} of the guest ABI, this worker version {}: use the \
                     stockade-guest that belongs to this stockade",
                    document.abi,
                    abi::VERSION
                ));
            }
            self.functions
                .extend(document.functions.into_iter().map(Function::described));
        }
        Ok(())
    }
}

impl Function {
    fn described(self) -> (String, Described) {
        let signature = Signature {
            params: self.params,
            returns: self.returns,
        };
        let docs = self.docs;
        (self.name, Described { signature, docs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(section: &str) -> Result<Metadata, String> {
        let mut metadata = Metadata::default();
        metadata.read(section.as_bytes()).map(|()| metadata)
    }

    #[test]
    fn documents_follow_each_other_with_or_without_space() {
        let one = r#"{"abi":1,"functions":[{"name":"f","params":[{"name":"n","type":"u32"}],"returns":"u64","docs":"Fs."}]}"#;
        let two = r#"{"abi":1,"functions":[{"name":"g"}]}"#;
        for between in ["", "\n", "  \n\t"] {
            let metadata = read(&format!("{one}{between}{two}\n")).unwrap();
            assert!(metadata.warnings.is_empty());
            let f = &metadata.functions["f"];
            assert_eq!((&*f.signature.params[0].ty, &*f.docs), ("u32", "Fs."));
            assert!(metadata.functions.contains_key("g"));
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_warning_and_keeps_what_came_before() {
        let metadata = read(r#"{"abi":1,"functions":[{"name":"f"}]} {"abi":"#).unwrap();
        assert_eq!(metadata.warnings.len(), 1);
        assert!(metadata.functions.contains_key("f"));
        assert_eq!(read("\0\0").unwrap().warnings.len(), 1);
        assert!(read("").unwrap().warnings.is_empty());
    }

    #[test]
    fn another_abi_is_an_error() {
        assert!(
            read(r#"{"abi":2,"new":true}"#)
                .unwrap_err()
                .contains("version 2")
        );
    }

    #[test]
    fn what_fuzzers_found_does_no_harm() {
        let corpus =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/metadata");
        let files: Vec<_> = std::fs::read_dir(corpus).unwrap().collect();
        assert!(files.len() >= 10);
        for file in files {
            let _ = Metadata::default().read(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}
