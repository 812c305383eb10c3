//! Guests in C and AssemblyScript, request by request: what docs/abi.md says of encodings, and what becomes of requests
//! that are damaged.
#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test that called it"
)]

use serde_json::Value;
use stockade_wire::message::{StopBy, WasiSetup};
use stockade_worker::guest::{Alone, Guest, Program, Runtime};
use stockade_worker::{InstanceLimits, compiler};

const C: &[u8] = include_bytes!("../../../../guests/c/types.wasm");
const ASSEMBLYSCRIPT: &[u8] = include_bytes!("../../../../guests/assemblyscript/guest.wasm");
const DOCUMENT: &str = include_str!("../../../../docs/abi.md");

/// The functions of the guest in C that take and return the types of the vectors.
const ECHOES: [(&str, &str); 18] = [
    ("u8", "u8"),
    ("u16", "u16"),
    ("u32", "u32"),
    ("u64", "u64"),
    ("i8", "i8"),
    ("i16", "i16"),
    ("i32", "i32"),
    ("i64", "i64"),
    ("f32", "f32"),
    ("f64", "f64"),
    ("bool", "boolean"),
    ("char", "char"),
    ("String", "str"),
    ("Bytes", "bytes"),
    ("Option<u32>", "option"),
    ("(u8, String)", "tuple"),
    ("Vec<(i16, Vec<bool>)>", "list"),
    ("()", "unit"),
];

/// An instance that serves one request after the other.
struct Instance {
    names: Vec<(String, u32)>,
    program: Program<Alone>,
    guest: Guest<Alone>,
}

impl Instance {
    fn new(module: &[u8]) -> Self {
        let compiled = compiler::compile(module, StopBy::Epoch).unwrap();
        let limits = InstanceLimits {
            memory_bytes: 4 << 20,
            tables: compiled.info().tables,
            table_elements: 1000,
            stack_bytes: 256 << 10,
        };
        let functions = compiled.info().functions.iter();
        let names = functions.map(|f| (f.name.clone(), f.export)).collect();
        let runtime = Runtime::new(StopBy::Epoch, limits).unwrap();
        let program: Program<Alone> = runtime
            .load_compiled(&compiled, &WasiSetup::default())
            .unwrap();
        let guest = program.instantiate(Alone).unwrap();
        Self {
            names,
            program,
            guest,
        }
    }

    /// The reply. A trap, or a reply that breaks the rules, fails the test.
    #[track_caller]
    fn call(&mut self, name: &str, request: &[u8]) -> Vec<u8> {
        let (_, export) = self.names.iter().find(|(known, _)| known == name).unwrap();
        let mut reply = Vec::new();
        let called = self.guest.call(&self.program, *export, request, &mut reply);
        assert_eq!(called, Ok(()), "{name}: {}", shown(request));
        self.guest.release(&self.program).unwrap();
        reply
    }
}

/// What stands in docs/abi.md between ```` ```json NAME ```` and its end.
fn vectors(name: &str) -> Vec<Value> {
    let (_, block) = DOCUMENT.split_once(&format!("```json {name}\n")).unwrap();
    let (block, _) = block.split_once("```").unwrap();
    serde_json::from_str(block).unwrap()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

fn bytes(vector: &Value) -> Vec<u8> {
    let hex = text(vector, "bincode");
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn shown(request: &[u8]) -> String {
    let hex: String = request.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex} {:?}", String::from_utf8_lossy(request))
}

fn echo_of(vector: &Value) -> Option<&'static str> {
    let rust = text(vector, "rust");
    ECHOES
        .iter()
        .find(|(ty, _)| *ty == rust)
        .map(|(_, name)| *name)
}

fn request(codec: u8, arguments: &[u8]) -> Vec<u8> {
    [&[codec], arguments].concat()
}

/// The vector's value as the only argument, in JSON. `()` is the argument of no function.
fn json_request(vector: &Value) -> Vec<u8> {
    let arguments = match text(vector, "rust") {
        "()" => "[]".to_owned(),
        _ => format!("[{}]", vector["json"]),
    };
    request(1, arguments.as_bytes())
}

#[test]
fn every_vector_comes_back_from_a_guest_in_c_byte_by_byte() {
    let mut guest = Instance::new(C);
    let mut tried = 0;
    for vector in vectors("vectors") {
        let Some(echo) = echo_of(&vector) else {
            continue;
        };
        tried += 1;
        let reply = guest.call(echo, &request(0, &bytes(&vector)));
        assert_eq!(reply, request(0, &bytes(&vector)), "{vector}");
        let reply = guest.call(echo, &json_request(&vector));
        let is_fraction = vector["json"].is_f64();
        assert_eq!(
            reply[0],
            u8::from(is_fraction),
            "{vector}: {}",
            shown(&reply)
        );
        if is_fraction {
            assert!(shown(&reply).contains("STOCKADE_LIBC"), "{}", shown(&reply));
        } else {
            let value: Value = serde_json::from_slice(&reply[1..]).unwrap();
            assert_eq!(value, vector["json"]);
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn longer_forms_are_read_alike() {
    let mut guest = Instance::new(C);
    let all = vectors("vectors");
    for vector in vectors("longer") {
        let echo = echo_of(&vector).unwrap();
        let reply = guest.call(echo, &request(0, &bytes(&vector)));
        let json = guest.call(echo, &json_request(&vector));
        assert_eq!((reply[0], json[0]), (0, 0), "{vector}");
        // What it writes itself is as short as can be.
        assert!(reply.len() < bytes(&vector).len() + 1, "{vector}");
        assert!(!all.contains(&vector));
        let again = guest.call(echo, &reply);
        assert_eq!(again, reply);
    }
}

#[test]
fn what_is_no_argument_is_refused_with_a_reason() {
    let mut guest = Instance::new(C);
    for vector in vectors("refused") {
        let echo = echo_of(&vector).unwrap();
        let request = match vector.get("json") {
            Some(json) => request(1, json.as_str().unwrap().as_bytes()),
            None => request(0, &bytes(&vector)),
        };
        let reply = guest.call(echo, &request);
        let message = std::str::from_utf8(&reply[1..]).unwrap();
        assert_eq!(reply[0], 1, "{vector}: {message}");
        assert!(message.starts_with(&format!("{echo}: ")), "{message}");
    }
    for request in [&b""[..], b"\x02", b"\xff\0"] {
        assert_eq!(guest.call("u8", request)[0], 1);
    }
}

/// Strings with every kind of escape, which is where lengths go wrong.
#[test]
fn escapes_are_read_as_serde_reads_them() {
    let mut c = Instance::new(C);
    let mut assemblyscript = Instance::new(ASSEMBLYSCRIPT);
    for json in [
        r#""plain""#,
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\u0000\u0041\u00e9\u20ac\ud83d\ude00""#,
        r#""é€😀""#,
        r#" "around" "#,
    ] {
        let expected: Value = serde_json::from_str(json).unwrap();
        let request = request(1, format!(" [ {json} ] ").as_bytes());
        let reply = c.call("str", &request);
        assert_eq!(reply[0], 0, "{json}");
        assert_eq!(
            serde_json::from_slice::<Value>(&reply[1..]).unwrap(),
            expected
        );
        let request = format!("\x01[{json}, \"no separator\"]");
        let reply = assemblyscript.call("split", request.as_bytes());
        assert_eq!(reply[0], 0, "{json}");
        let parts: Value = serde_json::from_slice(&reply[1..]).unwrap();
        assert_eq!(parts[0], expected);
    }
}

/// Whatever is in a request, these guests reply by the rules: they read nothing beyond it, and never trap.
#[test]
fn damaged_requests_are_refused_and_never_a_trap() {
    const REPLACEMENTS: [u8; 14] = [
        0, 1, 2, b'"', b'[', b']', b',', b'\\', b'-', b'9', 0x80, 251, 253, 255,
    ];
    let mut c = Instance::new(C);
    let mut requests = Vec::new();
    for vector in vectors("vectors") {
        if let Some(echo) = echo_of(&vector) {
            requests.push((echo, request(0, &bytes(&vector))));
            requests.push((echo, json_request(&vector)));
        }
    }
    for (echo, request) in &requests {
        for damaged in damages(request, &REPLACEMENTS) {
            let reply = c.call(echo, &damaged);
            assert!(reply[0] <= 2, "{}", shown(&damaged));
        }
    }
    let mut assemblyscript = Instance::new(ASSEMBLYSCRIPT);
    for request in [&b"\0\x05a,b,c\x01,"[..], b"\x01[\"a,\\u00e9,c\",\",\"]"] {
        for damaged in damages(request, &REPLACEMENTS) {
            let reply = assemblyscript.call("split", &damaged);
            assert!(reply[0] <= 1, "{}", shown(&damaged));
        }
    }
}

/// Cut off at each place, and with each byte replaced.
fn damages<'a>(request: &'a [u8], replacements: &'a [u8]) -> impl Iterator<Item = Vec<u8>> + 'a {
    let cut = (0..request.len()).map(|end| request[..end].to_vec());
    let replaced = (0..request.len()).flat_map(move |at| {
        replacements.iter().map(move |byte| {
            let mut damaged = request.to_vec();
            damaged[at] = *byte;
            damaged
        })
    });
    cut.chain(replaced)
}
