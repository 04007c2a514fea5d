//! The vault alone: typed events with causes, a stream from any position, and the same fact stored once.

use serde::{Deserialize, Serialize};
use toka_vault::VaultBus;
use toka_vault::core::{Filter, decode};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: String,
    celsius: f32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let vault = VaultBus::open(folder.path())?;

    let reading = Reading { sensor: "roof".into(), celsius: 31.5 };
    let measured = vault.commit(&reading, &[], "sensor.read", ()).await?;
    let cause = std::slice::from_ref(&measured);
    let alarm = vault.commit(&"too hot", cause, "alarm.raised", ()).await?;

    let again = vault.commit(&reading, &[], "sensor.read", ()).await?;
    assert_eq!((again.id, vault.len()?), (measured.id, 2), "the same fact is stored once");

    let mut events = vault.subscribe_from(0, Filter::all());
    while events.position() < vault.len()? {
        let event = events.recv().await?;
        println!("#{} {} {}", event.header.seq, event.header.id.short(), event.header.kind);
    }

    let stored = vault.get(&measured.id)?.expect("it was committed");
    assert_eq!(decode::<Reading>(&stored)?, reading);
    assert_eq!(vault.children(&measured.id)?[0].header.id, alarm.id);
    Ok(())
}
