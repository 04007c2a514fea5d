//! `toka cap key`, `hand-on`, `request`, `sign` and `append`: what holders of tokens and third parties do with keys of their own.

use std::path::Path;

use serde::Serialize;
use toka_auth::key::public_to_hex;
use toka_auth::{HolderKey, KeyError, Narrowing};

use super::tokens::{public_key, read, set, unreadable};
use crate::args::Countersign;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::KEY;
use crate::paths::friendly;
use crate::scheme::no_key;

#[derive(Serialize)]
struct Shown<'a> {
    v: u32,
    key: String,
    file: &'a str,
    created: bool,
}

#[derive(Serialize)]
struct Token {
    v: u32,
    token: String,
}

#[derive(Serialize)]
struct Request {
    v: u32,
    request: String,
}

#[derive(Serialize)]
struct Block {
    v: u32,
    block: String,
}

/// `toka cap key`.
pub(crate) fn key(context: &mut Context, file: &Path) -> Outcome {
    let (key, created) = match HolderKey::load(file) {
        Err(KeyError::Absent { .. }) => (HolderKey::create(file), true),
        loaded => (loaded, false),
    };
    let key = public_to_hex(&key.map_err(no_key)?.public());
    if created {
        context.notes.say(format_args!("created {}", friendly(file)));
    }
    match context.out.json {
        true => context.out.object(&Shown { v: 1, key, file: &file.to_string_lossy(), created })?,
        false => context.out.line(format_args!("{KEY}{key}{KEY:#}"))?,
    }
    Ok(Exit::OK)
}

/// `toka cap hand-on`.
pub(crate) fn hand_on(context: &mut Context, token: &str, key_file: &Path, holder: &str) -> Outcome {
    let (key, next) = (load(key_file)?, public_key(holder)?);
    let token = toka_auth::hand_on(&read(token)?, &key, next).map_err(unreadable)?;
    print_token(context, token)
}

/// `toka cap request`.
pub(crate) fn request(context: &mut Context, token: &str) -> Outcome {
    let request = toka_auth::third_party_request(&read(token)?).map_err(unreadable)?;
    match context.out.json {
        true => context.out.object(&Request { v: 1, request })?,
        false => context.out.line(request)?,
    }
    Ok(Exit::OK)
}

/// `toka cap sign`.
pub(crate) fn sign(context: &mut Context, asked: &Countersign) -> Outcome {
    let narrowing = Narrowing {
        only: (!asked.only.is_empty()).then(|| set(&asked.only)).transpose()?,
        expires: asked.expires.as_deref().map(super::filter::time).transpose()?,
        ..Narrowing::default()
    };
    let key = load(&asked.key_file)?;
    let block = toka_auth::third_party_block(&read(&asked.request)?, &key, &narrowing);
    let block = block.map_err(unreadable)?;
    match context.out.json {
        true => context.out.object(&Block { v: 1, block })?,
        false => context.out.line(block)?,
    }
    Ok(Exit::OK)
}

/// `toka cap append`.
pub(crate) fn append(context: &mut Context, token: &str, block: &str) -> Outcome {
    let token = toka_auth::append_third_party(&read(token)?, block).map_err(unreadable)?;
    print_token(context, token)
}

pub(crate) fn print_token(context: &mut Context, token: String) -> Outcome {
    match context.out.json {
        true => context.out.object(&Token { v: 1, token })?,
        false => context.out.line(token)?,
    }
    Ok(Exit::OK)
}

pub(crate) fn load(key_file: &Path) -> Result<HolderKey, Failure> {
    HolderKey::load(key_file).map_err(|error| match error {
        KeyError::Absent { .. } => no_key(error).hint("`toka cap key FILE` makes one"),
        _ => no_key(error),
    })
}
