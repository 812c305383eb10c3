//! One argument of a work function: what is refused, what it is decoded as, and how it is passed
//! on.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Pat, PatType, Type};

use crate::signature::{find_lifetime, find_token, refuse};
use crate::type_text::type_text;

pub(crate) struct Argument {
    pub(crate) name: String,
    pub(crate) ty: Type,
}

impl Argument {
    pub(crate) fn check(argument: &PatType) -> syn::Result<Self> {
        if let Some(attribute) = argument.attrs.iter().find(|attribute| {
            ["cfg", "cfg_attr"]
                .iter()
                .any(|name| attribute.path().is_ident(name))
        }) {
            return refuse(
                attribute,
                "put the condition on the whole work function: its signature is part of the ABI",
            );
        }
        let name = match &*argument.pat {
            Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => {
                pat.ident.unraw().to_string()
            }
            Pat::Wild(_) => "_".to_owned(),
            pattern => {
                return refuse(
                    pattern,
                    "an argument of a work function has a name: take it apart in the body",
                );
            }
        };
        let ty = (*argument.ty).clone();
        check_type(&ty)?;
        Ok(Self { name, ty })
    }

    /// The type as the metadata and messages show it.
    pub(crate) fn text(&self) -> String {
        type_text(&self.ty)
    }

    /// The type that is decoded.
    pub(crate) fn decoded(&self) -> TokenStream {
        let span = Span::mixed_site().located_at(self.ty.span());
        match Lent::of(&self.ty) {
            Lent::No => self.ty.to_token_stream(),
            Lent::Text => quote_spanned!(span=> ::stockade_guest::__private::Text<'_>),
            Lent::Bytes => quote_spanned!(span=> ::stockade_guest::__private::ByteSlice<'_>),
            Lent::Slice(element) => quote_spanned!(span=> ::std::vec::Vec<#element>),
            Lent::Value(value) => value.to_token_stream(),
        }
    }

    /// The expression that passes the decoded `binding`.
    pub(crate) fn lent(&self, binding: &Ident) -> TokenStream {
        match Lent::of(&self.ty) {
            Lent::No => binding.to_token_stream(),
            Lent::Text | Lent::Bytes | Lent::Slice(_) => quote!(&*#binding),
            Lent::Value(_) => quote!(&#binding),
        }
    }
}

/// What a reference argument is lent from.
enum Lent<'a> {
    No,
    Text,
    Bytes,
    Slice(&'a Type),
    Value(&'a Type),
}

impl<'a> Lent<'a> {
    fn of(ty: &'a Type) -> Self {
        let Type::Reference(reference) = bare(ty) else {
            return Self::No;
        };
        match bare(&reference.elem) {
            Type::Path(path) if path.path.is_ident("str") => Self::Text,
            Type::Slice(slice) => match bare(&slice.elem) {
                Type::Path(path) if path.path.is_ident("u8") => Self::Bytes,
                element => Self::Slice(element),
            },
            value => Self::Value(value),
        }
    }
}

fn check_type(ty: &Type) -> syn::Result<()> {
    let is_impl = |token: &TokenTree| matches!(token, TokenTree::Ident(ident) if ident == "impl");
    if let Some(span) = find_token(ty.to_token_stream(), &is_impl) {
        return Err(syn::Error::new(
            span,
            "an argument of a work function has one type, not `impl Trait`",
        ));
    }
    if let Some(span) = find_lifetime(ty.to_token_stream(), &|name| name == "static") {
        return Err(syn::Error::new(
            span,
            "an argument borrows from the request, which ends with the call",
        ));
    }
    match bare(ty) {
        Type::Reference(reference) => {
            if let Some(mutability) = &reference.mutability {
                return refuse(
                    mutability,
                    "an argument is not lent mutably: take it by value",
                );
            }
            if let Type::TraitObject(object) = bare(&reference.elem) {
                return refuse(object, "a trait object cannot be decoded: name the type");
            }
        }
        Type::TraitObject(object) => {
            return refuse(object, "a trait object cannot be decoded: name the type");
        }
        Type::Ptr(pointer) => return refuse(pointer, "a pointer means nothing in another process"),
        _ => {}
    }
    Ok(())
}

/// The type without the parentheses and the invisible groups of `macro_rules` around it.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Paren(paren) => bare(&paren.elem),
        Type::Group(group) => bare(&group.elem),
        ty => ty,
    }
}
