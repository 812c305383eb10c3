//! A compiled module, ready to be instantiated: everything that is looked up once.
#![expect(
    unsafe_code,
    reason = "an artifact is native code: loading one is a decision to trust who made it"
)]

use std::cell::Cell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use stockade_wire::message::{StopBy, WasiSetup};
use stockade_wire::module_info::Number;
use stockade_wire::sys::memfd;
use wasmtime::{
    CallHook, Engine, Error, ExternType, FuncType, InstancePre, Module, ModuleExport, Store,
    UpdateDeadline, ValType,
};

use super::failure::{Ended, Halt, explain};
use super::instance::Guest;
use super::limiter::Limiter;
use super::linking::Linking;
use super::reset::Reset;
use super::state::State;
use super::world::World;
use crate::compiled::Compiled;
use crate::config::{InstanceLimits, Scanning, for_compiler, for_worker};
use crate::stop_point::StopPoint;
use crate::wasi::Files;
use crate::{abi, wasi};

/// An engine with room for one instance at a time.
#[derive(Debug)]
pub struct Runtime {
    engine: Engine,
    stop: StopBy,
    limits: InstanceLimits,
    scanning: Option<Scanning>,
}

/// Why an artifact could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// It was made by a program that differs from this one.
    Incompatible(wasmtime::Error),
    /// It is compatible, but the module needs more than the limits allow.
    TooLarge(wasmtime::Error),
}

impl Runtime {
    /// Makes an engine. This installs signal handlers, so it comes before the seal is finished, and never happens in a
    /// host.
    ///
    /// # Errors
    /// When the limits are out of range or address space cannot be reserved.
    pub fn new(stop: StopBy, limits: InstanceLimits) -> wasmtime::Result<Self> {
        Self::scanning(stop, limits, None)
    }

    /// The same, for modules whose instances are reset so. They export their memory, if they have one.
    pub(crate) fn scanning(
        stop: StopBy,
        limits: InstanceLimits,
        scanning: Option<Scanning>,
    ) -> wasmtime::Result<Self> {
        Ok(Self {
            engine: Engine::new(&for_worker(stop, limits, scanning))?,
            stop,
            limits,
            scanning,
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Loads what this process compiled.
    ///
    /// # Errors
    /// When it was compiled to be stopped in another way, or its module cannot fit in the limits.
    pub fn load_compiled<W: World>(
        &self,
        compiled: &Compiled,
        setup: &WasiSetup,
    ) -> Result<Program<W>, LoadError> {
        self.load_compiled_with(compiled, setup, None)
    }

    /// The same, for a guest that was granted directories.
    pub(crate) fn load_compiled_with<W: World>(
        &self,
        compiled: &Compiled,
        setup: &WasiSetup,
        files: Option<Files>,
    ) -> Result<Program<W>, LoadError> {
        let artifact = memfd::sealed("stockade-artifact", compiled.code())
            .map_err(|error| LoadError::Incompatible(error.into()))?;
        // SAFETY: a `Compiled` holds what our compiler made, and the file is sealed.
        unsafe { self.load(artifact, setup, files) }
    }

    /// Loads an artifact and prepares everything that instances share. Nothing has to become executable
    /// after this, and no file has to be made.
    ///
    /// # Safety
    /// The file must hold exactly what [`crate::compiler::compile`] made, and nobody may change it while it
    /// is mapped: its bytes become this process's code.
    ///
    /// # Errors
    /// When the artifact is another program's, or its module cannot fit in the limits.
    pub(crate) unsafe fn load<W: World>(
        &self,
        artifact: OwnedFd,
        setup: &WasiSetup,
        files: Option<Files>,
    ) -> Result<Program<W>, LoadError> {
        let file = File::from(artifact);
        let again = file.try_clone().map_err(wasmtime::Error::from);
        // SAFETY: the caller's promise.
        let module = unsafe { Module::deserialize_open_file(&self.engine, file) };
        match module {
            Ok(module) => self
                .prepare(module, setup, files)
                .map_err(LoadError::Incompatible),
            // SAFETY: the caller's promise.
            Err(error) => Err(unsafe { self.classify(error, again) }),
        }
    }

    /// Wasmtime refuses a module that cannot fit in its pool with the same kind of error as a foreign
    /// artifact; an engine without a pool tells the two apart.
    ///
    /// # Safety
    /// As [`Self::load`].
    unsafe fn classify(&self, error: wasmtime::Error, file: wasmtime::Result<File>) -> LoadError {
        let unpooled = file.and_then(|file| {
            let engine = Engine::new(&for_compiler(self.stop))?;
            // SAFETY: the caller's promise.
            unsafe { Module::deserialize_open_file(&engine, file) }
        });
        match unpooled {
            Ok(_) => LoadError::TooLarge(error),
            Err(_) => LoadError::Incompatible(error),
        }
    }

    fn prepare<W: World>(
        &self,
        module: Module,
        setup: &WasiSetup,
        files: Option<Files>,
    ) -> wasmtime::Result<Program<W>> {
        module.initialize_copy_on_write_image()?;
        let stop_point = match self.stop {
            StopBy::Signal => StopPoint::of(&module)?,
            StopBy::Epoch | StopBy::Kill => None,
        };
        let mut linking = Linking::new(&self.engine, &module);
        super::imports::link(&mut linking)?;
        wasi::link(&mut linking, files.is_some())?;
        let pre = linking.finish()?;
        let export = |name: &str| module.get_export_index(name);
        let changeable = export(abi::STATE_WHOLE).map(|_| {
            (0..)
                .map_while(|place| export(&abi::state_global(place)))
                .collect()
        });
        let exports: Box<[_]> = module
            .exports()
            .map(|found| Callable::of(found.name(), &found.ty(), export(found.name())))
            .collect();
        let command = exports
            .iter()
            .position(|callable| matches!(callable, Callable::Command(_)));
        Ok(Program {
            command: command.and_then(|place| place.try_into().ok()),
            stop_point,
            engine: self.engine.clone(),
            limits: self.limits,
            pre,
            exports,
            memory: export(abi::STATE_MEMORY),
            alloc: export(abi::ALLOC),
            free: export(abi::FREE),
            initialize: export(abi::INITIALIZE),
            init: export(abi::INIT),
            retire: export(abi::RETIRE),
            // Descriptors are kept by another crate, and made with the instance.
            changeable: changeable.filter(|_| files.is_none()),
            setup: Arc::new(wasi::Setup::new(setup, files)),
            hint: Cell::new(None),
            reset: self.scanning.map(|scanning| Rc::new(Reset::by(scanning))),
        })
    }
}

/// A loaded module with its imports resolved.
pub struct Program<W: World> {
    engine: Engine,
    limits: InstanceLimits,
    pre: InstancePre<State<W>>,
    /// In the order of the module's exports, which is how calls name them.
    exports: Box<[Callable]>,
    /// Which of them is a whole program.
    command: Option<u32>,
    /// Where a signal moves a guest that is to be stopped.
    stop_point: Option<StopPoint>,
    pub(super) memory: Option<ModuleExport>,
    pub(super) alloc: Option<ModuleExport>,
    pub(super) free: Option<ModuleExport>,
    pub(super) initialize: Option<ModuleExport>,
    pub(super) init: Option<ModuleExport>,
    pub(super) retire: Option<ModuleExport>,
    setup: Arc<wasi::Setup>,
    /// The export that was called last: a new instance looks it up before its call arrives.
    pub(super) hint: Cell<Option<u32>>,
    pub(super) reset: Option<Rc<Reset>>,
    /// The globals that are put back, too, to make an instance what it was.
    pub(super) changeable: Option<Box<[ModuleExport]>>,
}

impl<W: World> std::fmt::Debug for Program<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// How an export can be called.
pub(super) enum Callable {
    /// With encoded arguments.
    Work(ModuleExport),
    /// With numbers.
    Numeric {
        export: ModuleExport,
        params: Box<[Number]>,
        result: Option<Number>,
    },
    /// As a whole program.
    Command(ModuleExport),
    /// Not at all.
    No,
}

impl Callable {
    fn of(name: &str, ty: &ExternType, export: Option<ModuleExport>) -> Self {
        let (ExternType::Func(ty), Some(export)) = (ty, export) else {
            return Self::No;
        };
        if name.starts_with(abi::WORK_PREFIX) {
            return Self::Work(export);
        }
        match numbers(ty) {
            Some((params, None)) if name == abi::START && params.is_empty() => {
                Self::Command(export)
            }
            Some((params, result)) => Self::Numeric {
                export,
                params,
                result,
            },
            None => Self::No,
        }
    }
}

fn numbers(ty: &FuncType) -> Option<(Box<[Number]>, Option<Number>)> {
    let mut results = ty.results();
    let result = results.next();
    if results.next().is_some() {
        return None;
    }
    let params = ty.params().map(|ty| number(&ty)).collect::<Option<_>>()?;
    Some((
        params,
        result.map(|ty| number(&ty).ok_or(())).transpose().ok()?,
    ))
}

fn number(ty: &ValType) -> Option<Number> {
    match ty {
        ValType::I32 => Some(Number::I32),
        ValType::I64 => Some(Number::I64),
        ValType::F32 => Some(Number::F32),
        ValType::F64 => Some(Number::F64),
        ValType::V128 | ValType::Ref(_) => None,
    }
}

impl<W: World> Program<W> {
    /// Makes an instance and runs its start function and what begins its life. There must be no other.
    ///
    /// # Errors
    /// When the module's own code fails, or its needs exceed its limits.
    pub fn instantiate(&self, world: W) -> Result<Guest<W>, Ended> {
        let mut guest = self.instantiate_only(world)?;
        guest.initialize(self)?;
        Ok(guest)
    }

    /// As [`Self::instantiate`], with no more than its start function.
    pub(crate) fn instantiate_only(&self, world: W) -> Result<Guest<W>, Ended> {
        let limiter = Limiter::new(self.limits.memory_bytes, self.limits.table_elements);
        let state = State::new(world, limiter, Arc::clone(&self.setup));
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        if self.setup.has_files() {
            // How many bytes one file call may move. What is written is taken from where it lies, and that may
            // be all of a guest's memory.
            store
                .set_hostcall_fuel(usize::try_from(self.limits.memory_bytes).unwrap_or(usize::MAX));
        }
        // The deadline is set once and moved by the callback alone. A signal therefore always leaves it in
        // the past until the callback has compared the calls, whenever it arrives.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            Ok(if context.data().world.stop_requested() {
                UpdateDeadline::Interrupt
            } else {
                UpdateDeadline::Continue(1)
            })
        });
        if self.stop_point.is_some() {
            // A guest that does little but grow, or call functions of its host, is hardly ever in its own code, where a
            // signal meets it.
            store.call_hook(|context, hook| match hook {
                CallHook::CallingHost if context.data().world.was_missed() => {
                    Err(Error::new(Halt::Stopped))
                }
                _ => Ok(()),
            });
        }
        match self.pre.instantiate(&mut store) {
            Ok(instance) => Guest::new(self, store, instance),
            Err(error) => {
                if let Some(reset) = &self.reset {
                    reset.forget();
                }
                Err(explain(&error, store.data_mut()))
            }
        }
    }

    /// Whether guests of it are asked if their worker is to be replaced.
    pub(crate) fn has_retire(&self) -> bool {
        self.retire.is_some()
    }

    /// Where a signal moves a guest that is to be stopped, if that is how it is stopped and it has code.
    pub(crate) fn stop_point(&self) -> Option<&StopPoint> {
        self.stop_point.as_ref()
    }

    /// Whether an export is a whole program, which wants an instance of its own.
    #[inline]
    pub(crate) fn is_command(&self, export: u32) -> bool {
        self.command == Some(export)
    }

    pub(super) fn callable(&self, export: u32) -> &Callable {
        self.exports.get(export as usize).unwrap_or(&Callable::No)
    }
}
