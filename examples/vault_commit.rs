//! An event with a vector of three dimensions, committed to a vault in a directory.

use serde::{Deserialize, Serialize};
use toka_vault::VaultBus;

#[derive(Serialize, Deserialize)]
struct UserLogin {
    user_id: String,
    timestamp: u64,
}

async fn example() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let vault = VaultBus::open(folder.path().join("vault-data"))?;

    // The first vector fixes the vault's dimension; an embedder makes longer ones.
    let embedding = ndarray::arr1(&[0.1, 0.5, -0.2]);

    let header = vault
        .commit(
            &UserLogin { user_id: "alice".to_string(), timestamp: 1234567890 },
            &[], // No parent events
            "auth.login",
            embedding,
        )
        .await?;

    println!("Event committed: {}", header.id);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    example().await
}
