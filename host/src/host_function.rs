//! Functions of the host's that guests may call.
//!
//! A guest's request is hostile: it is decoded within bounds, in the task that runs the function, so that a
//! decoder of the application's that panics fails that call alone.

use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Codec, Error, codec, signature};

/// An async function that guests may call: `Fn(A, B, ..) -> impl Future`, with owned arguments that serde can
/// decode and a result that it can encode. `A` is the tuple of its arguments.
///
/// See [`crate::HostBuilder::function`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an async function of `{A}` that guests can call",
    note = "give an `async fn` or a closure that returns a future: `Send + Sync + 'static`, with up to eight \
            owned arguments that serde can decode and a result that it can encode"
)]
pub trait HostFunction<A>: sealed::Sealed<A> + Send + Sync + 'static {
    /// Runs the function on decoded arguments.
    #[doc(hidden)]
    fn call(&self, args: A) -> impl Future<Output = impl Serialize> + Send;

    /// The compiler's name for the type of its result.
    #[doc(hidden)]
    fn result_type() -> &'static str;
}

mod sealed {
    pub trait Sealed<A> {}
}

macro_rules! host_function {
    ($($ty:ident $arg:ident),*) => {
        impl<F, Fut, $($ty,)*> sealed::Sealed<($($ty,)*)> for F where F: Fn($($ty),*) -> Fut {}
        impl<F, Fut, $($ty,)*> HostFunction<($($ty,)*)> for F
        where
            F: Fn($($ty),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: Serialize> + Send,
        {
            fn call(&self, ($($arg,)*): ($($ty,)*)) -> impl Future<Output = impl Serialize> + Send {
                self($($arg),*)
            }

            fn result_type() -> &'static str {
                type_name::<Fut::Output>()
            }
        }
    };
}

host_function!();
host_function!(A0 a0);
host_function!(A0 a0, A1 a1);
host_function!(A0 a0, A1 a1, A2 a2);
host_function!(A0 a0, A1 a1, A2 a2, A3 a3);
host_function!(A0 a0, A1 a1, A2 a2, A3 a3, A4 a4);
host_function!(A0 a0, A1 a1, A2 a2, A3 a3, A4 a4, A5 a5);
host_function!(A0 a0, A1 a1, A2 a2, A3 a3, A4 a4, A5 a5, A6 a6);
host_function!(A0 a0, A1 a1, A2 a2, A3 a3, A4 a4, A5 a5, A6 a6, A7 a7);

/// The answer to a request, once the function has run.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// Takes encoded arguments.
type Erased = Arc<dyn Fn(Codec, Vec<u8>) -> Answering + Send + Sync>;

/// One function, and the compiler's names for its types.
#[derive(Clone)]
struct Entry {
    run: Erased,
    args: &'static str,
    result: &'static str,
}

/// The functions of one host, by name.
#[derive(Clone, Default)]
pub(crate) struct HostFunctions {
    by_name: HashMap<String, Entry>,
    /// A name that was given twice.
    twice: Option<String>,
}

impl HostFunctions {
    pub(crate) fn add<A, F>(&mut self, name: String, function: F)
    where
        A: DeserializeOwned + Send + 'static,
        F: HostFunction<A>,
    {
        let function = Arc::new(function);
        let run: Erased = Arc::new(move |codec, encoded| {
            let function = Arc::clone(&function);
            Box::pin(async move {
                match codec::decode_value::<A>(codec, &encoded) {
                    Ok(args) => {
                        drop(encoded);
                        codec::encode_answer(codec, &function.call(args).await)
                    }
                    Err(reason) => codec::refusal(codec::NOT_UNDERSTOOD, &reason),
                }
            })
        });
        let entry = Entry {
            run,
            args: type_name::<A>(),
            result: F::result_type(),
        };
        if self.by_name.insert(name.clone(), entry).is_some() {
            self.twice = Some(name);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(name) = &self.twice {
            let reason = format!("there are two host functions `{name}`: give each its own name");
            return Err(Error::config("function", reason));
        }
        if self.by_name.contains_key("") {
            return Err(Error::config("function", "a host function has no name"));
        }
        Ok(())
    }

    /// What answers a request to the function of this name, or the answer that refuses it.
    pub(crate) fn answering(&self, name: &str, request: &[u8]) -> Result<Answering, Vec<u8>> {
        let Some(entry) = self.by_name.get(name) else {
            return Err(self.nobody(name));
        };
        let request = codec::Request::read(request)
            .map_err(|reason| codec::refusal(codec::NOT_UNDERSTOOD, &reason))?;
        if let Some([args, result]) = request.types
            && signature::differs((entry.args, entry.result), (args, result))
        {
            let reason = format!(
                "the host's `{name}` is {} -> {}, and was called as {} -> {}",
                entry.args,
                entry.result,
                beginning(args),
                beginning(result)
            );
            return Err(codec::refusal(codec::OTHER_TYPES, &reason));
        }
        Ok((entry.run)(request.codec, request.args.to_vec()))
    }

    /// The answer to a request that no function serves.
    fn nobody(&self, name: &str) -> Vec<u8> {
        let mut names: Vec<_> = self
            .by_name
            .keys()
            .map(|name| format!("`{name}`"))
            .collect();
        names.sort();
        let offered = match names.as_slice() {
            [] => "the host offers none".to_owned(),
            names => format!("the host offers {}", names.join(", ")),
        };
        codec::refusal(
            codec::NO_FUNCTION,
            &format!("no host function `{}`: {offered}", beginning(name)),
        )
    }
}

/// As much of a guest's word as it is told again.
fn beginning(text: &str) -> &str {
    const SHOWN_MAX: usize = 1024;
    &text[..text.floor_char_boundary(SHOWN_MAX)]
}

impl fmt::Debug for HostFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}
