//! `toka cap tree`: who may do what, and by whose leave.

use serde::Serialize;
use toka_types::GrantId;
use toka_types::capability::CapabilitySet;

use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::look::{Look, author};
use crate::record::time;

/// A grant as it is printed.
#[derive(Serialize)]
struct Row {
    id: GrantId,
    parent: Option<GrantId>,
    subject: String,
    #[serde(rename = "use")]
    uses: Vec<String>,
    delegate: Vec<String>,
    expires: Option<String>,
    revoked: bool,
}

pub(crate) fn tree(context: &mut Context) -> Outcome {
    let look = Look::open(context)?;
    let kernel = look.world()?;
    let world = kernel.world();
    let texts = |set: &CapabilitySet| set.iter().map(ToString::to_string).collect();
    let rows: Vec<Row> = world
        .grants()
        .map(|(id, grant)| Row {
            id,
            parent: grant.cut_from,
            subject: author(world, grant.subject),
            uses: texts(&grant.uses),
            delegate: texts(&grant.delegates),
            expires: grant.expires.map(time),
            revoked: grant.revoked,
        })
        .collect();
    if context.out.json {
        for row in &rows {
            context.out.object(row)?;
        }
        return Ok(Exit::OK);
    }
    let depth = |row: &Row| {
        let parent = |id: GrantId| world.grant(id).and_then(|grant| grant.cut_from);
        std::iter::successors(row.parent, |id| parent(*id)).count()
    };
    let rows = in_order(&rows).into_iter().map(|row| {
        let state = if row.revoked { "revoked".to_owned() } else { row.expires.clone().unwrap_or_default() };
        vec![
            format!("{}{}", "  ".repeat(depth(row)), row.id),
            row.subject.clone(),
            row.uses.join(" "),
            row.delegate.join(" "),
            state,
        ]
    });
    context.out.table(&["GRANT", "SUBJECT", "USE", "DELEGATE", "UNTIL"], rows)?;
    Ok(Exit::OK)
}

/// Each grant behind the one it was cut from.
fn in_order(rows: &[Row]) -> Vec<&Row> {
    let mut ordered = Vec::with_capacity(rows.len());
    let mut waiting: Vec<&Row> = rows.iter().rev().filter(|row| row.parent.is_none()).collect();
    while let Some(row) = waiting.pop() {
        ordered.push(row);
        waiting.extend(rows.iter().rev().filter(|child| child.parent == Some(row.id)));
    }
    ordered
}
