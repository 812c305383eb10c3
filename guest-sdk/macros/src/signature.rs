//! The signature of a work function. Owns which functions are refused, and why; the body is never
//! looked at.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{
    Attribute, Expr, ExprLit, FnArg, Generics, Ident, Lit, Meta, ReturnType, Safety, Signature,
    Type, Visibility,
};

use crate::argument::Argument;
use crate::outcome;

/// serde's tuples go on to sixteen; nobody reads a call of so many.
const ARGUMENTS_MAX: usize = 12;

/// A function that can be a work function.
pub(crate) struct WorkFunction {
    pub(crate) ident: Ident,
    pub(crate) docs: String,
    pub(crate) arguments: Vec<Argument>,
    /// None if it returns `()` without saying so.
    pub(crate) outcome: Option<Type>,
}

impl Parse for WorkFunction {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = Attribute::parse_outer(input)?;
        let _: Visibility = input.parse()?;
        if !starts_function(&input.fork()) {
            return Err(syn::Error::new(
                input.span(),
                "`#[work]` goes on a function",
            ));
        }
        let signature: Signature = input.parse()?;
        let _body: TokenStream = input.parse()?;

        refuse_qualifiers(&signature)?;
        refuse_generics(&signature.generics)?;
        Ok(Self {
            arguments: arguments(&signature)?,
            outcome: match signature.output {
                ReturnType::Default => None,
                ReturnType::Type(_, ty) => Some(outcome::check(*ty)?),
            },
            docs: docs(&attributes),
            ident: signature.ident,
        })
    }
}

/// Whether `fn` follows, after nothing but the words and the ABI that may precede it.
pub(crate) fn starts_function(input: ParseStream<'_>) -> bool {
    loop {
        match input.parse::<TokenTree>() {
            Ok(TokenTree::Ident(ident)) if ident == "fn" => return true,
            Ok(TokenTree::Ident(ident))
                if ["const", "async", "unsafe", "safe", "extern"]
                    .iter()
                    .any(|&q| ident == q) => {}
            Ok(TokenTree::Literal(_)) => {}
            _ => return false,
        }
    }
}

fn refuse_qualifiers(signature: &Signature) -> syn::Result<()> {
    if let Some(variadic) = &signature.variadic {
        return refuse(variadic, "a work function has a fixed number of arguments");
    }
    if let Some(asyncness) = &signature.asyncness {
        return refuse(
            asyncness,
            "a work function is not `async`: it has a worker to itself and may block",
        );
    }
    if let Safety::Unsafe(unsafety) = &signature.safety {
        return refuse(
            unsafety,
            "a work function is not `unsafe`: a host cannot promise anything to it",
        );
    }
    if let Some(abi) = &signature.abi {
        return refuse(
            abi,
            "a work function has Rust's own ABI: the export beside it speaks the host's",
        );
    }
    Ok(())
}

fn refuse_generics(generics: &Generics) -> syn::Result<()> {
    if let Some(parameter) = generics.params.first() {
        return refuse(
            parameter,
            match parameter {
                syn::GenericParam::Lifetime(_) => {
                    "a work function names no lifetimes: leave them out, as in `text: &str`"
                }
                syn::GenericParam::Type(_) | syn::GenericParam::Const(_) => {
                    "a work function is not generic: the host calls one compiled function"
                }
            },
        );
    }
    if let Some(clause) = &generics.where_clause {
        return refuse(
            clause,
            "a work function is not generic: it has no `where` clause",
        );
    }
    Ok(())
}

fn arguments(signature: &Signature) -> syn::Result<Vec<Argument>> {
    if let Some(excess) = signature.inputs.iter().nth(ARGUMENTS_MAX) {
        return refuse(
            excess,
            "a work function has at most twelve arguments: put some of them in a struct",
        );
    }
    let argument = |input: &FnArg| match input {
        FnArg::Receiver(receiver) => refuse(
            receiver,
            "a work function is not a method: a host has no `self` to call it on",
        ),
        FnArg::Typed(argument) => Argument::check(argument),
    };
    signature.inputs.iter().map(argument).collect()
}

fn docs(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    };
    let lines: Vec<String> = attributes.iter().filter_map(line).collect();
    let lines = lines.iter().flat_map(|line| line.split('\n'));
    let lines: Vec<&str> = lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end())
        .collect();
    lines.join("\n").trim().to_owned()
}

/// The error that points at `tokens`.
pub(crate) fn refuse<T>(tokens: impl Spanned + quote::ToTokens, message: &str) -> syn::Result<T> {
    Err(syn::Error::new_spanned(tokens, message))
}

/// The first token, at any depth, that `is_it` accepts.
pub(crate) fn find_token(tokens: TokenStream, is_it: &impl Fn(&TokenTree) -> bool) -> Option<Span> {
    tokens.into_iter().find_map(|token| match &token {
        token if is_it(token) => Some(token.span()),
        TokenTree::Group(group) => find_token(group.stream(), is_it),
        _ => None,
    })
}

/// The first lifetime called `'name`, or called anything but that.
pub(crate) fn find_lifetime(tokens: TokenStream, is_it: &impl Fn(&str) -> bool) -> Option<Span> {
    let mut after_quote = false;
    for token in tokens {
        let found = match &token {
            TokenTree::Ident(ident) if after_quote && is_it(&ident.to_string()) => {
                Some(ident.span())
            }
            TokenTree::Group(group) => find_lifetime(group.stream(), is_it),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        after_quote = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
    }
    None
}
