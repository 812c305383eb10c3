//! What fuzzers feed with bytes that an attacker chose. Nothing here may panic, or allocate more than it was
//! given in proportion.

use std::any::type_name;
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stockade_wire::module_info::{FunctionKind, ModuleInfo, Number};

use crate::functions::Functions;
use crate::{Bytes, Codec, artifact, codec, signature};

/// A result type with everything in it that serde knows.
#[derive(Debug, Serialize, Deserialize)]
enum Anything {
    Nothing,
    One(Box<Anything>),
    Many(Vec<Anything>),
    Named {
        text: String,
        pairs: HashMap<String, u64>,
        sorted: BTreeMap<i16, Option<Vec<u8>>>,
    },
    Numbers([u8; 3], (i64, f32), char, bool, u128),
    Units(Vec<()>),
}

/// A reply, as each kind of function and each codec has it.
pub fn reply(bytes: &[u8]) {
    fn as_type<R: DeserializeOwned>(bytes: &[u8]) {
        let work = FunctionKind::Work { signature: None };
        for codec in [Codec::Bincode, Codec::Json] {
            let _ = black_box(codec::decode::<R>("f", &work, codec, bytes));
        }
        for result in [None, Some(Number::I32), Some(Number::F64)] {
            let params = Vec::new();
            let numeric = FunctionKind::Numeric { params, result };
            let _ = black_box(codec::decode::<R>("f", &numeric, Codec::Bincode, bytes));
        }
    }
    as_type::<()>(bytes);
    as_type::<i64>(bytes);
    as_type::<String>(bytes);
    as_type::<Bytes>(bytes);
    as_type::<Vec<Vec<u64>>>(bytes);
    as_type::<HashMap<String, Option<f64>>>(bytes);
    as_type::<Result<Bytes, String>>(bytes);
    as_type::<Anything>(bytes);
    as_type::<serde_json::Value>(bytes);
}

/// A request to a function of the host's.
pub fn request(bytes: &[u8]) {
    fn to<A: DeserializeOwned, R>(bytes: &[u8]) {
        let Ok(request) = codec::Request::read(bytes) else {
            return;
        };
        if let Some([args, result]) = request.types {
            let ours = (type_name::<A>(), type_name::<R>());
            black_box(signature::differs(ours, (args, result)));
        }
        let _ = black_box(codec::decode_value::<A>(request.codec, request.args));
    }
    to::<(), ()>(bytes);
    to::<(u32, String), Option<u64>>(bytes);
    to::<(Bytes,), Result<Bytes, String>>(bytes);
    to::<(Anything, Vec<Vec<u64>>), HashMap<String, (u8, char)>>(bytes);
}

/// A file of the cache.
pub fn artifact(bytes: &[u8]) {
    artifact::fuzzed(bytes);
}

/// The description of a module, as its compiler hands it in.
pub fn description(bytes: &[u8]) {
    let Ok(info) = serde_json::from_slice::<ModuleInfo>(bytes) else {
        return;
    };
    let functions = Functions::new(&info);
    for (place, listed) in functions.list().iter().enumerate() {
        assert!(functions.find(&listed.name).is_ok());
        let _ = functions.entry(place).check::<(u32, &str), Vec<u64>>();
    }
    let _ = functions.find("no such function").map(|(place, _)| place);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// What fuzzers have found worth keeping.
    fn replay(target: &str, feed: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let files: Vec<_> = fs::read_dir(&corpus).unwrap().collect();
        assert!(files.len() >= 10, "{}", corpus.display());
        for file in files {
            feed(&fs::read(file.unwrap().path()).unwrap());
        }
    }

    #[test]
    fn the_corpora_do_no_harm() {
        replay("reply", super::reply);
        replay("request", super::request);
        replay("artifact", super::artifact);
        replay("description", super::description);
    }
}
