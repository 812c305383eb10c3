//! Gives a module what it imports, and of our own functions nothing else.

use wasmtime::{Engine, FuncType, InstancePre, IntoFunc, Linker, Module, Result, Val};

/// A linker for one module, to which everything may be offered. What the module does not import costs its worker's start
/// nothing.
pub(crate) struct Linking<'m, T: 'static> {
    linker: Linker<T>,
    module: &'m Module,
    imports: Vec<(&'m str, &'m str)>,
}

impl<'m, T: 'static> Linking<'m, T> {
    pub(super) fn new(engine: &Engine, module: &'m Module) -> Self {
        let imports = module.imports();
        Self {
            linker: Linker::new(engine),
            module,
            imports: imports
                .map(|import| (import.module(), import.name()))
                .collect(),
        }
    }

    /// Offers a function.
    pub(crate) fn func_wrap<Params, Results>(
        &mut self,
        module: &str,
        name: &str,
        func: impl IntoFunc<T, Params, Results>,
    ) -> Result<()> {
        if self.wants(module, name) {
            self.linker.func_wrap(module, name, func)?;
        }
        Ok(())
    }

    /// Offers a function whose type is made when it is wanted.
    pub(crate) fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: impl FnOnce(&Engine) -> FuncType,
        func: impl Fn(&mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        if self.wants(module, name) {
            let ty = ty(self.linker.engine());
            self.linker
                .func_new(module, name, ty, move |_, _, results| func(results))?;
        }
        Ok(())
    }

    fn wants(&self, module: &str, name: &str) -> bool {
        self.imports.contains(&(module, name))
    }

    /// Defines all that another crate has. What is offered afterwards takes its place, also among itself.
    pub(crate) fn define_others(
        &mut self,
        define: impl FnOnce(&mut Linker<T>) -> Result<()>,
    ) -> Result<()> {
        define(&mut self.linker)?;
        self.linker.allow_shadowing(true);
        Ok(())
    }

    /// The module with what it imports.
    pub(super) fn finish(self) -> Result<InstancePre<T>> {
        self.linker.instantiate_pre(self.module)
    }
}
