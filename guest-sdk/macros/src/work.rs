//! What `#[work]` expands to: the item exactly as it was written, and beside it, out of every
//! name's way, the shim that the host calls and the metadata that describes it.
//!
//! All tokens of the shim carry the macro's own span, so that `#![forbid(unsafe_code)]` and other
//! lints of the guest judge what its author wrote and nothing else.

use proc_macro2::{Literal, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::metadata;
use crate::signature::WorkFunction;

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let function =
        refuse_options(attribute).and_then(|()| syn::parse2::<WorkFunction>(item.clone()));
    let companion = match function {
        Ok(function) => companion(&function),
        Err(error) => error.into_compile_error(),
    };
    // The item stays even if it was refused: its other uses are not errors.
    quote!(#item #companion)
}

fn refuse_options(attribute: TokenStream) -> syn::Result<()> {
    match attribute.into_iter().next() {
        None => Ok(()),
        Some(token) => Err(syn::Error::new(token.span(), "`#[work]` takes no options")),
    }
}

fn companion(function: &WorkFunction) -> TokenStream {
    let shim = shim(function);
    let section = section(function);
    quote!(const _: () = { #shim #section };)
}

/// Decodes, calls, encodes. Tokens about a type have the type's place, so that one that cannot
/// cross is reported where it was written.
fn shim(function: &WorkFunction) -> TokenStream {
    let ident = &function.ident;
    let name = ident.unraw().to_string();
    let export = format!("stockade:{name}");
    let described = function
        .arguments
        .iter()
        .map(|argument| format!("{}: {}", argument.name, argument.text()));
    let described = described.collect::<Vec<_>>().join(", ");

    let bindings: Vec<_> = (0..function.arguments.len())
        .map(|index| format_ident!("argument_{index}", span = Span::mixed_site()))
        .collect();
    let decode = function
        .arguments
        .iter()
        .zip(&bindings)
        .map(|(argument, binding)| {
            let (name, ty) = (&argument.name, argument.decoded());
            let next = quote_spanned!(at(argument.ty.span())=> arguments.next::<#ty>(#name));
            quote_spanned!(Span::mixed_site()=> let #binding = #next?;)
        });
    let pass = function
        .arguments
        .iter()
        .zip(&bindings)
        .map(|(argument, binding)| argument.lent(binding));
    let outcome_at = function
        .outcome
        .as_ref()
        .map_or_else(Span::mixed_site, |ty| at(ty.span()));
    let encode =
        quote_spanned!(outcome_at=> ::stockade_guest::__private::encode(codec, &FUNCTION, &value));

    // Two functions of one name in a guest are rustc's "symbol is already defined", reported at the
    // span of `fn`, which is the attribute.
    quote_spanned! {Span::mixed_site()=>
        #[cfg_attr(target_family = "wasm", unsafe(export_name = #export))]
        extern "C" fn __stockade_shim(ptr: *mut u8, len: usize) -> u64 {
            static FUNCTION: ::stockade_guest::__private::Function =
                ::stockade_guest::__private::Function { name: #name, arguments: #described };
            // SAFETY: the ABI makes every request an allocation of `stockade_alloc` that the guest
            // owns.
            let request = unsafe { ::stockade_guest::__private::Request::adopt(ptr, len) };
            let called = (|| -> ::core::result::Result<_, ::stockade_guest::__private::Reply> {
                let mut arguments = request.arguments(&FUNCTION)?;
                #(#decode)*
                let codec = arguments.end()?;
                ::core::result::Result::Ok((codec, #ident(#(#pass),*)))
            })();
            // A large request and a large reply need not exist at once.
            ::core::mem::drop(request);
            let reply = match called {
                ::core::result::Result::Ok((codec, value)) => #encode,
                ::core::result::Result::Err(reply) => reply,
            };
            reply.into_abi()
        }
    }
}

/// `span`, for messages, in the macro's own hygiene, for lints.
fn at(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}

/// The linker joins the sections of all functions, so each holds one whole document.
fn section(function: &WorkFunction) -> TokenStream {
    let mut document = metadata::document(function).into_bytes();
    document.push(b'\n');
    let size = Literal::usize_unsuffixed(document.len());
    let document = Literal::byte_string(&document);
    quote! {
        #[cfg(target_family = "wasm")]
        #[unsafe(link_section = "stockade")]
        #[used]
        static METADATA: [u8; #size] = *#document;
    }
}
