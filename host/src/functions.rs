//! The functions of a module, as its compiler described them.

use std::any::type_name;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use stockade_wire::module_info::{FunctionInfo, FunctionKind, ModuleInfo};

use crate::Error;
use crate::signature;
use crate::spin::Luck;

/// The functions of a module, by name.
#[derive(Debug)]
pub(crate) struct Functions {
    by_name: HashMap<Arc<str>, Arc<Entry>>,
}

/// One function, and what its calls have taught us.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) info: FunctionInfo,
    pub(crate) luck: Luck,
    /// The types that were found to fit, by where the compiler keeps their names.
    fitting: RwLock<Vec<[usize; 4]>>,
}

impl Functions {
    pub(crate) fn new(info: &ModuleInfo) -> Self {
        let entry = |info: &FunctionInfo| Entry {
            info: info.clone(),
            luck: Luck::default(),
            fitting: RwLock::default(),
        };
        let by_name = info
            .functions
            .iter()
            .map(|f| (f.name.as_str().into(), Arc::new(entry(f))))
            .collect();
        Self { by_name }
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Arc<Entry>, Error> {
        self.by_name.get(name).ok_or_else(|| {
            let mut available: Vec<String> = self
                .by_name
                .keys()
                .map(|name| (**name).to_owned())
                .collect();
            available.sort();
            Error::NoSuchFunction {
                name: name.to_owned(),
                available,
            }
        })
    }

    pub(crate) fn list(&self) -> Vec<Function> {
        let mut functions: Vec<Function> = self
            .by_name
            .values()
            .map(|entry| Function::new(&entry.info))
            .collect();
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        functions
    }
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        &self.info.name
    }

    /// Refuses types that are definitely not the function's; looks at each pair of types once.
    pub(crate) fn check<A, R>(&self) -> Result<(), Error> {
        let (args, result) = (type_name::<A>(), type_name::<R>());
        let key = [
            args.as_ptr().addr(),
            args.len(),
            result.as_ptr().addr(),
            result.len(),
        ];
        if self
            .fitting
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&key)
        {
            return Ok(());
        }
        if let Some((expected, found)) = signature::clash(&self.info, args, result) {
            return Err(Error::Signature {
                function: self.info.name.clone(),
                expected,
                found,
            });
        }
        self.fitting
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key);
        Ok(())
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
    /// Whether it is a plain numeric export rather than a function of the stockade ABI.
    pub is_numeric: bool,
}

impl Function {
    fn new(info: &FunctionInfo) -> Self {
        Self {
            name: info.name.clone(),
            signature: signature::describe(info),
            docs: info.docs.clone(),
            is_numeric: matches!(info.kind, FunctionKind::Numeric { .. }),
        }
    }
}
