//! The result of a work function: what is refused, because it must outlive the request and be of a
//! known size.

use proc_macro2::TokenTree;
use quote::ToTokens;
use syn::Type;

use crate::argument::bare;
use crate::signature::{find_lifetime, find_token, refuse};

pub(crate) fn check(ty: Type) -> syn::Result<Type> {
    match bare(&ty) {
        Type::Path(path) if path.path.is_ident("str") => {
            return refuse(path, "a result has a size: return `String`");
        }
        Type::Slice(slice) => {
            return refuse(slice, "a result has a size: return a `Vec` or `Bytes`");
        }
        Type::TraitObject(object) => {
            return refuse(object, "a trait object cannot be encoded: name the type");
        }
        Type::Never(never) => {
            return refuse(
                never,
                "a work function returns: a host waits for its result. Leave the `!` out",
            );
        }
        _ => {}
    }
    let is_impl = |token: &TokenTree| matches!(token, TokenTree::Ident(ident) if ident == "impl");
    if let Some(span) = find_token(ty.to_token_stream(), &is_impl) {
        return Err(syn::Error::new(
            span,
            "the result of a work function has one type, not `impl Trait`",
        ));
    }
    let borrows =
        |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == '&');
    let borrowed = find_token(ty.to_token_stream(), &borrows)
        .or_else(|| find_lifetime(ty.to_token_stream(), &|name| name != "static"));
    match borrowed {
        Some(span) => Err(syn::Error::new(
            span,
            "a result is owned, for it leaves the guest: return `String`, `Vec` or `Bytes`",
        )),
        None => Ok(ty),
    }
}
