//! Modules that nobody wrote, through the whole pool: compiled, served, every export called.
//!
//! Each may be refused, trap, or run out of time or memory. Its compiler and its workers may not die, and another host
//! must answer an innocent call after it. Where state is fresh, all are called again: they import nothing, so they must end
//! as they did.
//!
//! In a workspace of its own, because wasm-smith switches features of Wasmtime's dependencies on.

use std::fmt;
use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use arbitrary::Unstructured;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};
use stockade::{Cause, Error, FunctionInfo, Host, Interrupt, Limits, Module, State, WorkerState};
use wasm_smith::Config;

const TIMEOUT: Duration = Duration::from_millis(50);

/// What a module may use, and at most asks for at its start.
const MEMORY_BYTES: u64 = 64 << 20;

/// What modules became.
#[derive(Debug, Default)]
pub struct Tally {
    invalid: u64,
    never_started: u64,
    calls: u64,
    values: u64,
    traps: u64,
    timeouts: u64,
    other_failures: u64,
}

/// A module of these bytes. What it may use depends on `seed`.
pub fn module(seed: u64, bytes: &[u8]) -> Vec<u8> {
    let mut config = Config {
        max_imports: 0,
        min_funcs: 1,
        min_exports: 1,
        export_everything: seed.is_multiple_of(2),
        min_memories: u32::from(!seed.is_multiple_of(4)),
        max_memories: 1,
        max_tables: 4,
        max_instructions: 400,
        allow_start_export: seed.is_multiple_of(10),
        max_memory32_bytes: MEMORY_BYTES,
        max_table_elements: 1000,
        // Some may use what workers do not offer, and is refused.
        gc_enabled: false,
        reference_types_enabled: seed.is_multiple_of(16),
        multi_value_enabled: seed.is_multiple_of(3),
        simd_enabled: seed.is_multiple_of(2),
        max_type_size: 20,
        exceptions_enabled: false,
        threads_enabled: seed.is_multiple_of(32),
        memory64_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    };
    config.memory_max_size_required = seed.is_multiple_of(3);
    wasm_smith::Module::new(config, &mut Unstructured::new(bytes))
        .map(|module| module.to_bytes())
        .unwrap_or_default()
}

/// SplitMix64.
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The worker program, and a host with an innocent module.
pub struct Trials {
    worker: PathBuf,
    other: Host,
    /// What has become of those that were tried.
    pub tally: Tally,
}

impl Trials {
    /// With this program of workers.
    ///
    /// # Errors
    /// When there is no such program, or it does not serve.
    pub fn new(worker: &Path) -> Result<Self, Error> {
        let innocent = r#"(module (func (export "f") (result i32) (i32.const 42)))"#;
        Ok(Self {
            worker: worker.to_owned(),
            other: host(
                worker,
                Module::from_wat(innocent),
                Interrupt::Epoch,
                State::Keep,
            )?,
            tally: Tally::default(),
        })
    }

    /// Calls all that a module exports.
    ///
    /// # Errors
    /// Says what went wrong that no module may bring about.
    pub fn run(&mut self, module: Vec<u8>) -> Result<(), String> {
        try_module(&self.worker, module, &mut self.tally)?;
        match wait_for(self.other.run_sync::<_, _, i32>("f", ())) {
            Ok(42) => Ok(()),
            unexpected => Err(format!("afterwards: {unexpected:?}")),
        }
    }
}

fn host(worker: &Path, module: Module, interrupt: Interrupt, state: State) -> Result<Host, Error> {
    Host::builder(module)
        .worker_program(worker)
        .no_cache()
        .workers(1)
        .state(state)
        .interrupt(interrupt)
        .limits(Limits {
            memory_bytes: MEMORY_BYTES as usize,
            ..Limits::default()
        })
        .spawn_timeout(Duration::from_secs(5))
        .interrupt_grace(Duration::from_secs(5))
        .build_blocking()
}

fn try_module(worker: &Path, module: Vec<u8>, tally: &mut Tally) -> Result<(), String> {
    // In every way, for modules of all kinds.
    let interrupt = match module.len() % 2 {
        0 => Interrupt::Epoch,
        _ => Interrupt::Signal,
    };
    let state = match module.len() / 2 % 2 {
        0 => State::Keep,
        _ => State::Fresh,
    };
    let host = match host(worker, Module::from_bytes(module), interrupt, state) {
        Ok(host) => host,
        Err(Error::InvalidModule { .. }) => {
            tally.invalid += 1;
            return Ok(());
        }
        Err(Error::Init { .. }) => {
            tally.never_started += 1;
            return Ok(());
        }
        Err(error) => return Err(format!("it was not built: {error}")),
    };
    let mut before = Vec::new();
    for (place, function) in host.functions().into_iter().enumerate() {
        let ended = call(&host, &function, place, tally)?;
        before.push((function, ended));
    }
    if state == State::Fresh {
        for (place, (function, before)) in before.iter().enumerate() {
            let ended = call(&host, function, place, tally)?;
            if let (Some(before), Some(ended)) = (before, ended)
                && *before != ended
            {
                return Err(format!("{} was {before:?} and is {ended:?}", function.name));
            }
        }
    }
    // One that does not stop is killed after the grace.
    let is_stopping = || {
        let workers = host.stats().workers;
        workers
            .iter()
            .any(|worker| worker.state == WorkerState::Stopping)
    };
    while is_stopping() {
        std::thread::yield_now();
    }
    let counts = host.stats().worker_counts;
    if counts.died + counts.killed > 0 {
        return Err(format!("workers were lost: {counts:?}"));
    }
    Ok(())
}

/// How a call ended, unless time decided that.
#[derive(Debug, PartialEq)]
enum Ended {
    Value(Value),
    Failed(String),
}

fn call(
    host: &Host,
    function: &FunctionInfo,
    place: usize,
    tally: &mut Tally,
) -> Result<Option<Ended>, String> {
    tally.calls += 1;
    let types = function.parameters.clone().unwrap_or_default();
    let arguments = Arguments {
        types: types.into_iter().map(|parameter| parameter.ty).collect(),
        seed: place as u64,
    };
    let call = host
        .call(function.name.as_str(), arguments)
        .timeout(TIMEOUT);
    Ok(Some(match wait_for(call) {
        Ok(value) => {
            tally.values += 1;
            Ended::Value(value)
        }
        Err(Error::Timeout { .. }) => {
            tally.timeouts += 1;
            return Ok(None);
        }
        Err(Error::BrokenWorker(broken)) => {
            let of_the_guest = matches!(
                broken.cause(),
                Cause::Trap(_) | Cause::StackOverflow | Cause::OutOfMemory { .. }
            );
            if !of_the_guest || broken.process_died() {
                return Err(format!("{}: {broken}", function.name));
            }
            tally.traps += 1;
            Ended::Failed(format!("{:?}", broken.cause()))
        }
        Err(
            error @ (Error::EncodeArgs { .. }
            | Error::Signature { .. }
            | Error::DecodeResult { .. }),
        ) => {
            tally.other_failures += 1;
            Ended::Failed(error.to_string())
        }
        Err(error) => return Err(format!("{}: {error}", function.name)),
    }))
}

/// Whatever a function returns.
#[derive(Debug, PartialEq)]
enum Value {
    Nothing,
    Integer(i64),
    /// The bits of a float.
    Bits(u64),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl Visitor<'_> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or nothing")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f32<E: serde::de::Error>(self, value: f32) -> Result<Value, E> {
        Ok(Value::Bits(value.to_bits().into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Bits(value.to_bits()))
    }
}

/// Numbers of these types.
struct Arguments {
    types: Vec<String>,
    seed: u64,
}

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const EDGES: [i64; 8] = [0, 1, -1, 65_535, 65_536, i32::MIN as i64, i64::MIN, 7];
        let mut state = self.seed;
        let mut tuple = serializer.serialize_tuple(self.types.len())?;
        for ty in &self.types {
            let word = next(&mut state);
            let number = match word % 3 {
                0 => next(&mut state).cast_signed(),
                _ => EDGES[(word / 3 % 8) as usize],
            };
            match ty.as_str() {
                "i32" => tuple.serialize_element(&(number as i32))?,
                "i64" => tuple.serialize_element(&number)?,
                "f32" => tuple.serialize_element(&(number as f32))?,
                _ => tuple.serialize_element(&(number as f64))?,
            }
        }
        tuple.end()
    }
}

fn wait_for<F: IntoFuture>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future.into_future());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}
