//! Events that name their causes.

use serde::{Deserialize, Serialize};
use toka_vault::VaultBus;

#[derive(Serialize, Deserialize)]
struct State {
    step: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let vault = VaultBus::in_memory();
    let (initial_state, state_update) = (State { step: 0 }, State { step: 1 });
    let embedding1 = ndarray::arr1(&[1.0, 0.0, 0.0]);
    let embedding2 = ndarray::arr1(&[0.0, 1.0, 0.0]);

    // Events can reference parent events to maintain causality
    let parent_event = vault.commit(&initial_state, &[], "init", embedding1).await?;

    let dependent_event = vault
        .commit(
            &state_update,
            &[parent_event], // This event depends on the parent
            "update",
            embedding2,
        )
        .await?;

    println!("{} was caused by {}", dependent_event.id, dependent_event.parents[0]);
    Ok(())
}
