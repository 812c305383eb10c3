//! The attribute macros of [`stockade-guest`](https://docs.rs/stockade-guest), which re-exports and
//! documents them. Guests depend on that crate, not on this one: the expansion names it.

mod argument;
mod metadata;
mod moment;
mod outcome;
mod signature;
mod type_text;
mod work;

use proc_macro::TokenStream;

use moment::Moment;

/// Makes a function callable by a Stockade host. See `stockade_guest::work`.
#[proc_macro_attribute]
pub fn work(attribute: TokenStream, item: TokenStream) -> TokenStream {
    work::expand(attribute.into(), item.into()).into()
}

/// Makes a function run once, when the module is compiled. See `stockade_guest::init`.
#[proc_macro_attribute]
pub fn init(attribute: TokenStream, item: TokenStream) -> TokenStream {
    moment::expand(Moment::Init, attribute.into(), item.into()).into()
}

/// Makes a function be asked whether its worker is to be replaced. See `stockade_guest::retire`.
#[proc_macro_attribute]
pub fn retire(attribute: TokenStream, item: TokenStream) -> TokenStream {
    moment::expand(Moment::Retire, attribute.into(), item.into()).into()
}
