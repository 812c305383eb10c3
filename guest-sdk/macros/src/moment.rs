//! `#[init]` and `#[retire]`: functions that a worker runs at one moment of an instance's life, not
//! for a call. Owns which functions are refused, and why.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::Parser;
use syn::{Attribute, Ident, ReturnType, Safety, Signature, Type, Visibility};

use crate::signature::{refuse, starts_function};

/// Which moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Init,
    Retire,
}

pub(crate) fn expand(moment: Moment, attribute: TokenStream, item: TokenStream) -> TokenStream {
    let ident = match attribute.into_iter().next() {
        None => parse(moment, item.clone()),
        Some(token) => {
            let message = format!("`#[{}]` takes no options", moment.name());
            Err(syn::Error::new(token.span(), message))
        }
    };
    let companion = match ident {
        Ok(ident) => moment.companion(&ident),
        Err(error) => error.into_compile_error(),
    };
    // The item stays even if it was refused: its other uses are not errors.
    quote!(#item #companion)
}

fn parse(moment: Moment, item: TokenStream) -> syn::Result<Ident> {
    let name = moment.name();
    let an = moment.article();
    let signature = |input: syn::parse::ParseStream<'_>| {
        Attribute::parse_outer(input)?;
        let _: Visibility = input.parse()?;
        if !starts_function(&input.fork()) {
            let message = format!("`#[{name}]` goes on a function");
            return Err(syn::Error::new(input.span(), message));
        }
        let signature: Signature = input.parse()?;
        let _body: TokenStream = input.parse()?;
        Ok(signature)
    };
    let signature = signature.parse2(item)?;
    if let Some(asyncness) = &signature.asyncness {
        let message = format!("{an} `#[{name}]` function is not `async`: it may block");
        return refuse(asyncness, &message);
    }
    if let Safety::Unsafe(unsafety) = &signature.safety {
        let message = format!("{an} `#[{name}]` function is not `unsafe`: a worker calls it");
        return refuse(unsafety, &message);
    }
    if let Some(abi) = &signature.abi {
        let message = format!("{an} `#[{name}]` function has Rust's own ABI");
        return refuse(abi, &message);
    }
    if let Some(parameter) = signature.generics.params.first() {
        let message = format!("{an} `#[{name}]` function is not generic: a worker calls it");
        return refuse(parameter, &message);
    }
    if let Some(argument) = signature.inputs.first() {
        let message = format!("{an} `#[{name}]` function takes no arguments: it runs for no call");
        return refuse(argument, &message);
    }
    moment.check_result(&signature)?;
    Ok(signature.ident)
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Retire => "retire",
        }
    }

    fn article(self) -> &'static str {
        match self {
            Self::Init => "an",
            Self::Retire => "a",
        }
    }

    fn check_result(self, signature: &Signature) -> syn::Result<()> {
        match (self, &signature.output) {
            (Self::Init, ReturnType::Default) => Ok(()),
            (Self::Init, ReturnType::Type(_, ty)) if is_unit(ty) => Ok(()),
            (Self::Init, ReturnType::Type(_, ty)) => refuse(
                ty,
                "an `#[init]` function returns nothing: what it prepares it leaves in statics, and it \
                 panics when it fails",
            ),
            (Self::Retire, ReturnType::Type(_, ty)) if is_bool(ty) => Ok(()),
            (Self::Retire, ReturnType::Type(_, ty)) => refuse(ty, RETIRE_RESULT),
            (Self::Retire, ReturnType::Default) => refuse(&signature.ident, RETIRE_RESULT),
        }
    }

    /// Two of one kind in a guest are rustc's "symbol is already defined", reported at the attribute.
    fn companion(self, ident: &Ident) -> TokenStream {
        match self {
            Self::Init => quote_spanned! {Span::mixed_site()=>
                const _: () = {
                    const FUNCTION: fn() = #ident;

                    #[cfg(target_family = "wasm")]
                    #[unsafe(export_name = "stockade_init")]
                    extern "C" fn __stockade_init() {
                        FUNCTION();
                    }

                    #[cfg(not(target_family = "wasm"))]
                    const _: fn() = FUNCTION;
                };
            },
            Self::Retire => quote_spanned! {Span::mixed_site()=>
                const _: () = {
                    const FUNCTION: fn() -> ::core::primitive::bool = #ident;

                    #[cfg(target_family = "wasm")]
                    #[unsafe(export_name = "stockade_retire")]
                    extern "C" fn __stockade_retire() -> i32 {
                        ::core::convert::From::from(FUNCTION())
                    }

                    #[cfg(not(target_family = "wasm"))]
                    const _: fn() -> ::core::primitive::bool = FUNCTION;
                };
            },
        }
    }
}

const RETIRE_RESULT: &str =
    "a `#[retire]` function returns `bool`: whether this worker is to be replaced";

fn is_unit(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty())
}

fn is_bool(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("bool"))
}
