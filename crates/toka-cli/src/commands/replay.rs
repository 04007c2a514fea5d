//! `toka replay`.

use serde::Serialize;
use toka_kernel::{Kernel, digests};
use toka_types::Digest;
use toka_vault::hash::{LogTree, causal_digest, content_digest, leaf_hash};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::look::{Look, fold};
use crate::output::grouped;

#[derive(Serialize)]
struct Replayed {
    v: u32,
    events: u64,
    fold: Digest,
    world: Digest,
    matches: bool,
}

/// Reads every record again, content and all, and folds them from empty memory. What comes out is compared with what
/// the vault says of itself: ids, content, the tree's root, and the world as `status` folds it.
pub(crate) fn replay(context: &mut Context) -> Outcome {
    let look = Look::open(context)?;
    if !look.is_whole() {
        return Err(Failure::failed(
            "the bundle does not begin with the log's first event: there is no world to fold",
        )
        .hint("`toka verify` checks it")
        .into());
    }
    let (mut kernel, mut tree) = (Kernel::new(), LogTree::new());
    let mut first_wrong = None;
    look.each_record(0, |record| {
        let header = &record.header;
        let same_id = causal_digest(header) == header.id;
        let mut same_content = record.content.iter().all(|c| content_digest(c.bytes()) == c.digest());
        for (at, named) in header.content.iter().enumerate() {
            same_content &= record.content_at(at).is_some() || look.store.gone(&named.digest)?.is_some();
        }
        if !(same_id && same_content && header.seq == tree.size()) {
            first_wrong.get_or_insert(header.seq);
        }
        tree.append(leaf_hash(&header.to_bytes()));
        fold(&mut kernel, header)
    })?;
    let digests = digests(kernel.world());
    let status = toka_kernel::digests(look.world()?.world());
    let head = look.head()?;
    let matches = first_wrong.is_none()
        && digests == status
        && tree.root() == head.root
        && tree.size() == head.next_seq;
    let replayed = Replayed { v: 1, events: tree.size(), fold: digests.fold, world: digests.world, matches };
    if context.out.json {
        context.out.object(&replayed)?;
    } else {
        let word = if matches { "yes" } else { "no" };
        context.out.pairs(&[
            ("events", grouped(replayed.events)),
            ("fold", replayed.fold.to_string()),
            ("world", replayed.world.to_string()),
            ("matches", word.to_owned()),
        ])?;
    }
    if let Some(seq) = first_wrong {
        context.notes.warn(format_args!("event {seq} is not what its id says"));
    }
    if !matches {
        context.notes.hint("`toka verify` lists all damage");
    }
    Ok(if matches { Exit::OK } else { Exit::INTEGRITY })
}
