//! What can be called: a name, or a guest's function item, which carries its own.

use std::any::type_name;
use std::borrow::Cow;
use std::sync::Arc;

use crate::Error;

/// A function to call: its name (`&str`, `String`, `&String`, `Cow<str>`, `Arc<str>`), or the `#[work]`
/// function itself, from the guest crate used as a library; then the compiler checks the types of the call.
///
/// `A` is the tuple of arguments, `R` the result. Closures and function pointers have no name and are
/// refused when the call is awaited.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of `{A}` that returns `{R}`",
    note = "give the function's name, or the #[work] function itself with a tuple of its arguments: `(x,)` for one"
)]
pub trait Function<A, R>: sealed::Sealed<A, R> {
    /// The name under which the module exports the function.
    ///
    /// # Errors
    /// When `self` is a closure or a function pointer.
    #[doc(hidden)]
    fn name(&self) -> Result<&str, Error>;
}

/// A function whose items are to be streamed: the same, without saying what it returns.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of `{A}`",
    note = "give the function's name, or the #[work] function itself with a tuple of its arguments: `(x,)` for one"
)]
pub trait Emitting<A>: sealed::Emitting<A> {
    /// See [`Function::name`].
    ///
    /// # Errors
    /// See there.
    #[doc(hidden)]
    fn name(&self) -> Result<&str, Error>;
}

mod sealed {
    pub trait Sealed<A, R> {}
    pub trait Emitting<A> {}
}

macro_rules! by_name {
    ($($name:ty),*) => {$(
        impl<A, R> sealed::Sealed<A, R> for $name {}
        impl<A, R> Function<A, R> for $name {
            fn name(&self) -> Result<&str, Error> {
                Ok(self)
            }
        }
        impl<A> sealed::Emitting<A> for $name {}
        impl<A> Emitting<A> for $name {
            fn name(&self) -> Result<&str, Error> {
                Ok(self)
            }
        }
    )*};
}

by_name!(&str, String, &String, Cow<'_, str>, Arc<str>);

macro_rules! by_item {
    ($($arg:ident)*) => {
        impl<F, $($arg,)* R> sealed::Sealed<($($arg,)*), R> for F where F: Fn($($arg),*) -> R + Copy {}
        impl<F, $($arg,)* R> Function<($($arg,)*), R> for F
        where
            F: Fn($($arg),*) -> R + Copy,
        {
            fn name(&self) -> Result<&str, Error> {
                item_name(type_name::<F>(), size_of::<F>())
            }
        }
        impl<F, $($arg,)* R> sealed::Emitting<($($arg,)*)> for F where F: Fn($($arg),*) -> R + Copy {}
        impl<F, $($arg,)* R> Emitting<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> R + Copy,
        {
            fn name(&self) -> Result<&str, Error> {
                item_name(type_name::<F>(), size_of::<F>())
            }
        }
    };
}

by_item!();
by_item!(A0);
by_item!(A0 A1);
by_item!(A0 A1 A2);
by_item!(A0 A1 A2 A3);
by_item!(A0 A1 A2 A3 A4);
by_item!(A0 A1 A2 A3 A4 A5);
by_item!(A0 A1 A2 A3 A4 A5 A6);
by_item!(A0 A1 A2 A3 A4 A5 A6 A7);
by_item!(A0 A1 A2 A3 A4 A5 A6 A7 A8);
by_item!(A0 A1 A2 A3 A4 A5 A6 A7 A8 A9);
by_item!(A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10);
by_item!(A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11);

/// The last segment of a function item's path.
fn item_name(path: &'static str, bytes: usize) -> Result<&'static str, Error> {
    // A function item is zero-sized, and so is a closure that captures nothing.
    if bytes == 0
        && let Some((_, name)) = path.rsplit_once("::")
        && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    {
        return Ok(name.strip_prefix("r#").unwrap_or(name));
    }
    let reason =
        format!("`{path}` has no name: pass the #[work] function itself, or its name as a string");
    Err(Error::config("function", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    mod guest {
        pub(super) fn add(a: u32, b: u32) -> u32 {
            a + b
        }
        pub(super) fn len(text: &str) -> usize {
            text.len()
        }
    }

    fn name<A, R>(f: impl Function<A, R>) -> Result<String, Error> {
        Function::name(&f).map(str::to_owned)
    }

    /// `type_name` is documented as diagnostic only: this test is what we rely on.
    #[test]
    fn a_function_item_yields_its_name() {
        assert_eq!(name(guest::add).unwrap(), "add");
        assert_eq!(name::<(&str,), _>(guest::len).unwrap(), "len");
    }

    #[test]
    fn every_kind_of_string_is_a_name() {
        let owned = String::from("f");
        assert_eq!(name::<(), ()>("f").unwrap(), "f");
        assert_eq!(name::<(), ()>(&owned).unwrap(), "f");
        assert_eq!(name::<(), ()>(Cow::Borrowed("f")).unwrap(), "f");
        assert_eq!(name::<(), ()>(Arc::<str>::from("f")).unwrap(), "f");
        assert_eq!(name::<(), ()>(owned).unwrap(), "f");
    }

    #[test]
    fn closures_and_pointers_are_refused_with_advice() {
        let pointer: fn(u32, u32) -> u32 = guest::add;
        for error in [name(pointer).unwrap_err(), name(|n: u32| n).unwrap_err()] {
            assert!(
                error
                    .to_string()
                    .contains("pass the #[work] function itself"),
                "{error}"
            );
        }
    }
}
