//! The functions of a module, as its compiler described them.

use std::any::type_name;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use stockade_wire::module_info::{FunctionInfo, FunctionKind, ModuleInfo};

use crate::Error;
use crate::signature;
use crate::spin::Lucks;
use crate::typical::TypicalTime;

/// The functions of a module.
#[derive(Debug)]
pub(crate) struct Functions {
    entries: Vec<Entry>,
    by_name: HashMap<Box<str>, usize>,
    /// The whole program, if the module is a command. It has no name to call it by.
    command: Option<usize>,
    /// The one that was found last, which is often the next one, too: a comparison is cheaper than a hash.
    last: AtomicUsize,
}

/// One function, and what its calls have taught us.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) info: FunctionInfo,
    pub(crate) lucks: Lucks,
    pub(crate) typical: TypicalTime,
    fitting: [OnceLock<TypePair>; FITTING_KEPT],
}

/// The longest text of a type that is kept, and the most parameters that a function can have.
const TYPE_BYTES_MAX: usize = 1024;
const PARAMS_MAX: usize = 1000;

/// The longest documentation that is kept.
const DOCS_BYTES_MAX: usize = 64 << 10;

/// What is kept of a function's description, whatever a module or its compiler says: types beyond reason are as
/// good as none.
fn bounded(function: &FunctionInfo) -> FunctionInfo {
    let mut info = function.clone();
    info.docs
        .truncate(info.docs.floor_char_boundary(DOCS_BYTES_MAX));
    if let FunctionKind::Work { signature } = &mut info.kind {
        let too_much = signature.as_ref().is_some_and(|signature| {
            let params = &signature.params;
            let texts = params.iter().flat_map(|param| [&param.name, &param.ty]);
            params.len() > PARAMS_MAX
                || texts
                    .chain([&signature.returns])
                    .any(|text| text.len() > TYPE_BYTES_MAX)
        });
        if too_much {
            *signature = None;
        }
    }
    info
}

/// A function that a host's module must have, with the types of the calls that are to come.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// Or why it has none.
    name: Result<String, String>,
    args: &'static str,
    result: &'static str,
}

impl Expected {
    pub(crate) fn new<A, R>(function: &impl crate::Function<A, R>) -> Self {
        Self {
            name: match function.name() {
                Ok(name) => Ok(name.to_owned()),
                Err(Error::Config { reason, .. }) => Err(reason),
                Err(other) => Err(other.to_string()),
            },
            args: type_name::<A>(),
            result: type_name::<R>(),
        }
    }
}

/// Where the compiler keeps the names of a call's argument and result types.
type TypePair = (usize, usize, usize, usize);

/// A function is seldom called with more types than these; others are compared at every call.
const FITTING_KEPT: usize = 4;

impl Functions {
    pub(crate) fn new(info: &ModuleInfo) -> Self {
        let mut functions = Self {
            entries: Vec::new(),
            by_name: HashMap::new(),
            command: None,
            last: AtomicUsize::new(0),
        };
        for function in &info.functions {
            let place = functions.entries.len();
            // Exports have different names; two functions of one name are a compiler's lie.
            if functions.by_name.contains_key(&*function.name) {
                continue;
            }
            functions
                .by_name
                .insert(function.name.as_str().into(), place);
            functions.entries.push(Entry {
                info: bounded(function),
                lucks: Lucks::default(),
                typical: TypicalTime::default(),
                fitting: Default::default(),
            });
        }
        if let Some(export) = info.command_export {
            functions.command = Some(functions.entries.len());
            functions.entries.push(Entry {
                info: FunctionInfo {
                    name: "_start".to_owned(),
                    export,
                    kind: FunctionKind::Command,
                    docs: String::new(),
                },
                lucks: Lucks::default(),
                typical: TypicalTime::default(),
                fitting: Default::default(),
            });
        }
        functions
    }

    /// The place of the whole program.
    pub(crate) fn command(&self) -> Result<usize, Error> {
        self.command.ok_or_else(|| Error::NoSuchFunction {
            name: "_start".to_owned(),
            available: self.names(),
        })
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.by_name.keys().map(|name| name.to_string()).collect();
        names.sort();
        names
    }

    /// The function of this name, and its place.
    pub(crate) fn find(&self, name: &str) -> Result<(usize, &Entry), Error> {
        let last = self.last.load(Ordering::Relaxed);
        if let Some(entry) = self.entries.get(last)
            && entry.name() == name
            && self.command != Some(last)
        {
            return Ok((last, entry));
        }
        match self.by_name.get(name) {
            Some(&place) => {
                self.last.store(place, Ordering::Relaxed);
                Ok((place, &self.entries[place]))
            }
            None => {
                let (name, available) = (name.to_owned(), self.names());
                Err(Error::NoSuchFunction { name, available })
            }
        }
    }

    /// Refuses a module that lacks one of these, or has it with other types.
    pub(crate) fn check(&self, expected: &[Expected]) -> Result<(), Error> {
        for Expected { name, args, result } in expected {
            let name = name
                .as_ref()
                .map_err(|reason| Error::config("expects", reason.clone()))?;
            self.find(name)?.1.compare(args, result)?;
        }
        Ok(())
    }

    pub(crate) fn get(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    /// The function at a place that [`Self::find`] gave.
    pub(crate) fn entry(&self, place: usize) -> &Entry {
        &self.entries[place]
    }

    pub(crate) fn list(&self) -> Vec<Function> {
        let mut functions: Vec<_> = self
            .entries
            .iter()
            .filter(|e| e.info.kind != FunctionKind::Command)
            .map(|e| Function::new(&e.info))
            .collect();
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        functions
    }
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        &self.info.name
    }

    /// Refuses argument types that are definitely not the function's. For calls that are made seldom.
    pub(crate) fn check_args<A>(&self) -> Result<(), Error> {
        let args = type_name::<A>();
        match signature::clash_of_args(&self.info, args) {
            None => Ok(()),
            Some((expected, found)) => Err(Error::Signature {
                function: self.info.name.clone(),
                expected,
                found,
            }),
        }
    }

    /// Refuses types that are definitely not the function's.
    pub(crate) fn check<A, R>(&self) -> Result<(), Error> {
        let (args, result) = (type_name::<A>(), type_name::<R>());
        // A tuple, which is compared in registers: an array would be read back in other pieces than it was written in, and
        // the processor waits for that.
        let pair = (
            args.as_ptr().addr(),
            args.len(),
            result.as_ptr().addr(),
            result.len(),
        );
        if self.fitting.iter().any(|known| known.get() == Some(&pair)) {
            return Ok(());
        }
        self.compare(args, result)?;
        // All places taken: this pair will be compared again.
        let _ = self.fitting.iter().find(|place| place.set(pair).is_ok());
        Ok(())
    }

    fn compare(&self, args: &str, result: &str) -> Result<(), Error> {
        match signature::clash(&self.info, args, result) {
            None => Ok(()),
            Some((expected, found)) => Err(Error::Signature {
                function: self.info.name.clone(),
                expected,
                found,
            }),
        }
    }
}

/// A function that a module offers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its name, parameters and result as one would write them in Rust; `..` where the module does not say.
    pub signature: String,
    /// What its author wrote about it.
    pub docs: String,
    /// Its parameters, where the module says. Those of a plain numeric export have no names.
    pub parameters: Option<Vec<Parameter>>,
    /// The type of its result, where the module says; `()` for none.
    pub returns: Option<String>,
    /// Whether it is a plain numeric export rather than a function of the stockade ABI.
    pub is_numeric: bool,
}

/// A parameter of a function that a module offers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter {
    /// Its name; empty where it has none.
    pub name: String,
    /// Its type, as the guest's source has it.
    pub ty: String,
}

impl Function {
    fn new(info: &FunctionInfo) -> Self {
        let named = |name: &str, ty: &str| Parameter {
            name: name.to_owned(),
            ty: ty.to_owned(),
        };
        let (parameters, returns) = match &info.kind {
            FunctionKind::Work {
                signature: Some(signature),
            } => {
                let params = signature.params.iter();
                let returns = match &*signature.returns {
                    "" => "()",
                    named => named,
                };
                (
                    Some(params.map(|p| named(&p.name, &p.ty)).collect()),
                    Some(returns.to_owned()),
                )
            }
            FunctionKind::Numeric { params, result } => (
                Some(params.iter().map(|n| named("", n.name())).collect()),
                Some(result.map_or("()", |number| number.name()).to_owned()),
            ),
            FunctionKind::Work { signature: None } | FunctionKind::Command => (None, None),
        };
        Self {
            name: info.name.clone(),
            signature: signature::describe(info),
            docs: info.docs.clone(),
            parameters,
            returns,
            is_numeric: matches!(info.kind, FunctionKind::Numeric { .. }),
        }
    }
}
