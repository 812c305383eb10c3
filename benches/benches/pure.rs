//! What a call costs where no other process takes part: the state machine, the slot, and what is written in it.
//!
//! `cargo bench -p stockade-bench`, or with `-- FILTER` a part of it. Criterion compares with the run before and
//! keeps its figures in `target/criterion`. What has two processes is measured by the suites of `stockade-bench`.

use std::fs::File;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stockade_wire::message::{
    self, InstanceState, Seal, StopBy, WasiSetup, WorkerMessage, WorkerSetup,
};
use stockade_wire::module_info::{FunctionInfo, FunctionKind, ModuleInfo, Param, Signature};
use stockade_wire::namespaces::Handed;
use stockade_wire::slot::machine::{Machine, Reply, Resolution, StopStyle};
use stockade_wire::slot::{
    Geometry, HostSlot, Idle, Linger, ReplyKind, RequestWriter, Seen, WorkerSlot,
};

criterion_group!(
    pure,
    machine,
    slot,
    slot_reads,
    arguments,
    messages,
    module_info
);
criterion_main!(pure);

/// From idle to idle over one call.
fn machine(c: &mut Criterion) {
    let mut machine = Machine::new(StopStyle::Interrupt);
    c.bench_function("machine/publish_replied", |b| {
        b.iter(|| {
            let id = machine.publish().expect("it is idle");
            let step = machine.replied(black_box(Reply::Answer));
            assert_eq!(step.resolve, Some(Resolution::Reply));
            id
        });
    });
}

const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Both sides of a slot in this process.
struct Pair {
    host: HostSlot,
    worker: WorkerSlot,
    id: u64,
}

impl Pair {
    fn new() -> Self {
        let geometry = Geometry::new(PAYLOAD_BYTES_MAX, 64 << 10).expect("it fits a 32-bit guest");
        let (host, [request, reply]) = HostSlot::new(geometry).expect("memory");
        // Nobody sleeps here, so nobody is woken by it.
        let bell = File::open("/dev/null").expect("it is there").into();
        let worker = WorkerSlot::new(geometry, request, reply, bell).expect("memory");
        Self {
            host,
            worker,
            id: 0,
        }
    }

    /// One call whose reply is as long as its request, without what would run in between.
    fn round_trip(&mut self, args: &[u8], read: &mut [u8], result: &mut Vec<u8>) {
        const IDLE: Idle = Idle {
            linger: Linger::NONE,
            timeout: None,
        };
        let last = self.id;
        self.id += 1;
        let mut writer = self.host.writer();
        writer.put(args);
        let written = writer.finish().expect("it is no longer than allowed");
        self.host.publish(self.id, 0, Linger::NONE, written);
        let call = self.worker.next(last, IDLE).expect("it was published");
        assert!(self.worker.accept(call.id));
        self.worker.read_args(read);
        self.worker.reply(call.id, ReplyKind::Value, read);
        let Seen::Reply(head) = self.host.look(self.id) else {
            panic!("it was answered");
        };
        result.clear();
        self.host.read(head, result);
    }
}

/// A request there and a reply back, by payloads that share a cache line with the call, fit a cache, and do not.
fn slot(c: &mut Criterion) {
    let mut group = c.benchmark_group("slot/round_trip");
    for bytes in [8, 1 << 10, 64 << 10, PAYLOAD_BYTES_MAX] {
        let mut pair = Pair::new();
        let args = vec![7; bytes];
        let (mut read, mut result) = (vec![0; bytes], Vec::new());
        pair.round_trip(&args, &mut read, &mut result);
        assert_eq!(result, args);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |b| {
            b.iter(|| pair.round_trip(black_box(&args), &mut read, &mut result));
        });
    }
}

/// Arguments out of a slot, by how many bytes further into its page the destination begins: string instructions
/// may be many times slower for a few than for none.
fn slot_reads(c: &mut Criterion) {
    const BYTES: usize = 64 << 10;
    const PAGE: usize = 4096;
    let pair = Pair::new();
    let mut writer = pair.host.writer();
    writer.put(&[7; BYTES]);
    let written = writer.finish().expect("it is no longer than allowed");
    pair.host.publish(1, 0, Linger::NONE, written);
    let mut memory = vec![0; BYTES + 2 * PAGE];
    let start = memory.as_ptr().align_offset(PAGE);
    let mut group = c.benchmark_group("slot/read_args");
    group.throughput(Throughput::Bytes(BYTES as u64));
    for offset in [0, 16, 64, 2048] {
        let to = &mut memory[start + offset..][..BYTES];
        group.bench_function(BenchmarkId::from_parameter(offset), |b| {
            b.iter(|| pair.worker.read_args(black_box(&mut *to)));
        });
        assert!(to.iter().all(|&byte| byte == 7));
    }
}

/// Arguments of an ordinary call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    customer: String,
    articles: Vec<(u32, u16)>,
    express: bool,
}

/// Arguments as a host writes them into a slot, in both codecs, and as a process reads them. The codec byte, and
/// the bound that a host puts on what it reads, are left out.
fn arguments(c: &mut Criterion) {
    let order = Order {
        customer: "Miller & Daughters".to_owned(),
        articles: (0..8).map(|at| (100_000 + at, 3)).collect(),
        express: true,
    };
    codecs(c, "numbers", &(1u32, 2u32));
    codecs(c, "record", &(order,));
}

fn codecs<T>(c: &mut Criterion, name: &str, args: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let config = bincode::config::standard();
    let pair = Pair::new();
    let bincode = |writer: &mut RequestWriter<'_>| {
        bincode::serde::encode_into_writer(black_box(args), writer, config).expect("plain data");
    };
    let json = |writer: &mut RequestWriter<'_>| {
        serde_json::to_writer(writer, black_box(args)).expect("plain data");
    };
    let mut group = c.benchmark_group(format!("arguments/{name}"));
    group.bench_function("encode_bincode", |b| {
        b.iter(|| {
            let mut writer = pair.host.writer();
            bincode(&mut writer);
            writer.finish()
        });
    });
    group.bench_function("encode_json", |b| {
        b.iter(|| {
            let mut writer = pair.host.writer();
            json(&mut writer);
            writer.finish()
        });
    });

    let encoded = bincode::serde::encode_to_vec(args, config).expect("plain data");
    let decode = |bytes: &[u8]| -> T {
        let (args, _) = bincode::serde::decode_from_slice(bytes, config).expect("just encoded");
        args
    };
    assert_eq!(decode(&encoded), *args);
    group.bench_function("decode_bincode", |b| b.iter(|| decode(black_box(&encoded))));

    let encoded = serde_json::to_vec(args).expect("plain data");
    let decode = |bytes: &[u8]| -> T { serde_json::from_slice(bytes).expect("just encoded") };
    assert_eq!(decode(&encoded), *args);
    group.bench_function("decode_json", |b| b.iter(|| decode(black_box(&encoded))));
}

/// What goes over the socket before the first call of a worker.
fn messages(c: &mut Criterion) {
    let setup = WorkerSetup {
        worker: 7,
        geometry: Geometry::new(PAYLOAD_BYTES_MAX, 64 << 10).expect("it fits a 32-bit guest"),
        stop: StopBy::Epoch,
        state: InstanceState::Fresh,
        memory_bytes: 256 << 20,
        tables: 1,
        largest_table: Some(12),
        table_elements: 10_000,
        stack_bytes: 1 << 20,
        idle_timeout: Some(Duration::from_secs(300)),
        workers_max: 1,
        wasi: WasiSetup {
            args: vec!["guest".to_owned()],
            env: vec![("LANG".to_owned(), "C.UTF-8".to_owned())],
            ..WasiSetup::default()
        },
        seal: Seal::Required,
        enter: Handed::default(),
    };
    coding(c, "worker_setup", &setup);
    coding(c, "worker_ready", &WorkerMessage::Ready);
}

fn coding<T>(c: &mut Criterion, name: &str, message: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let encoded = message::encode(message);
    assert_eq!(message::decode::<T>(&encoded).as_ref(), Ok(message));
    let mut group = c.benchmark_group(format!("message/{name}"));
    group.bench_function("encode", |b| b.iter(|| message::encode(black_box(message))));
    group.bench_function("decode", |b| {
        b.iter(|| message::decode::<T>(black_box(&encoded)));
    });
}

/// What a compiler process says about a module, read at the building of a host.
fn module_info(c: &mut Criterion) {
    let mut group = c.benchmark_group("module_info/decode");
    for functions in [1, 32, 1024] {
        let info = description(functions);
        let json = serde_json::to_vec(&info).expect("plain data");
        let decode =
            |json: &[u8]| -> ModuleInfo { serde_json::from_slice(json).expect("just encoded") };
        assert_eq!(decode(&json), info);
        group.throughput(Throughput::Bytes(json.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(functions), |b| {
            b.iter(|| decode(black_box(&json)));
        });
    }
}

/// A module as the SDK makes them.
fn description(functions: u32) -> ModuleInfo {
    let param = |name: &str, ty: &str| Param {
        name: name.to_owned(),
        ty: ty.to_owned(),
    };
    let function = |export| FunctionInfo {
        name: format!("resize_{export}"),
        export,
        kind: FunctionKind::Work {
            signature: Some(Signature {
                params: vec![param("image", "Bytes"), param("width", "u32")],
                returns: "Result<Bytes, String>".to_owned(),
            }),
        },
        docs: "Makes an image as wide as wanted.".to_owned(),
    };
    ModuleInfo {
        functions: (0..functions).map(function).collect(),
        imports: vec!["wasi_snapshot_preview1::fd_write".to_owned()],
        memory: Some((17 << 16, None)),
        ..ModuleInfo::default()
    }
}
