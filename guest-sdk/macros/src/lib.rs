//! The attribute macros of [`stockade-guest`](https://docs.rs/stockade-guest), which re-exports and
//! documents them. Guests depend on that crate, not on this one: the expansion names it.

mod argument;
mod metadata;
mod outcome;
mod signature;
mod type_text;
mod work;

use proc_macro::TokenStream;

/// Makes a function callable by a Stockade host. See `stockade_guest::work`.
#[proc_macro_attribute]
pub fn work(attribute: TokenStream, item: TokenStream) -> TokenStream {
    work::expand(attribute.into(), item.into()).into()
}
