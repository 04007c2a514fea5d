//! Watching a vault: the headers of everything that is committed.

use toka_vault::VaultBus;

async fn watch_events(vault: &VaultBus, wanted: usize) -> anyhow::Result<()> {
    let mut stream = vault.subscribe();
    // Only now is there somebody to hear of it.
    for n in 0..wanted {
        vault.commit(&n, &[], "demo.counted", ()).await?;
    }

    let mut seen = 0;
    while let Ok(header) = stream.recv().await {
        println!("New event: {} (kind: {})", header.id, header.kind);
        seen += 1;
        if seen == wanted {
            break;
        }
    }

    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    watch_events(&VaultBus::in_memory(), 3).await
}
