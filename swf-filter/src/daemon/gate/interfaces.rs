//! Which interfaces the filter is on.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tracing::{debug, error, info, warn};

use super::{Gate, Provenance, View, lock};
use crate::dataplane::{Held, Interface};
use crate::state::By;

impl Gate {
    /// Attaches to the interfaces that config.toml names, or to the one that is asked for.
    pub(in crate::daemon) fn attach(&self, only: Option<&str>) -> Result<()> {
        let mut programs = lock(&self.programs);
        let mut view = self.view();
        if let Some(name) = only {
            ensure!(
                view.known.iter().any(|interface| &*interface.name == name),
                "there is no interface `{name}`"
            );
            ensure!(
                view.config.names(name),
                "config.toml does not name `{name}`; add it to `interfaces` and reload"
            );
        }
        programs.sweep(&view.known);
        let known = view.known.clone();
        let chosen = |interface: &&Interface| {
            only.map_or_else(|| view.wants(interface), |name| *interface.name == *name)
        };
        let chosen: Vec<&Interface> = known.iter().filter(chosen).collect();
        let mode = view.config.xdp_mode;
        for interface in chosen {
            view.detached.remove(&interface.name);
            let held = programs.held(interface.index);
            let before = held == Held::Replaced || programs.is_attached(interface);
            match programs.attach(interface, mode) {
                Ok(note) => {
                    if let Some(words) = view.upkeep.attached(&interface.name, held) {
                        warn!(interface = %interface.name, "{words}");
                    }
                    match note {
                        Some(note) => {
                            warn!(interface = %interface.name, "attached in generic mode, which is slower: {note}");
                            view.notes.insert(Arc::clone(&interface.name), note);
                        }
                        None if before => {
                            debug!(interface = %interface.name, "still attached");
                        }
                        None => {
                            info!(interface = %interface.name, "attached");
                            view.notes.remove(&interface.name);
                        }
                    }
                }
                Err(error) => {
                    view.upkeep.refused(&interface.name, held, &error);
                    let note = format!("{:#}", anyhow::Error::from(error));
                    if view.notes.get(&interface.name) != Some(&note) {
                        error!(interface = %interface.name, "not attached: {note}");
                    }
                    view.notes.insert(Arc::clone(&interface.name), note);
                }
            }
        }
        let View {
            upkeep,
            config,
            detached,
            ..
        } = &mut *view;
        upkeep.forget(|name| config.names(name) && !detached.contains(name));
        view.keep_pins(&mut programs);
        Ok(())
    }

    /// Lets [`attach`](Self::attach) put the filter on again where an operator took it off.
    pub(in crate::daemon) fn forget_detached(&self) {
        self.view().detached.clear();
    }

    /// Takes the filter off one interface, or off all.
    pub(in crate::daemon) fn detach(&self, only: Option<&str>) -> Result<()> {
        let mut programs = lock(&self.programs);
        let mut view = self.view();
        let chosen: Vec<Interface> = view
            .known
            .iter()
            .filter(|interface| only.is_none_or(|name| *interface.name == *name))
            .filter(|interface| programs.is_attached(interface))
            .cloned()
            .collect();
        ensure!(
            only.is_none() || !chosen.is_empty(),
            "nothing of swf-filter is attached to `{}`",
            only.unwrap_or_default()
        );
        for interface in chosen {
            programs
                .detach(interface.index)
                .with_context(|| format!("cannot detach from `{}`", interface.name))?;
            warn!(interface = %interface.name, "detached: its traffic is not filtered");
            // One that is named again later is to be filtered again.
            if view.config.names(&interface.name) {
                let note = "detached by an operator, until `swf-filter attach`";
                view.notes
                    .insert(Arc::clone(&interface.name), note.to_owned());
                view.detached.insert(interface.name);
            }
        }
        Ok(())
    }

    /// Takes note of the interfaces that there are. Whether any has come, gone or got another number or bond.
    pub(in crate::daemon) fn learn(&self, listed: Vec<Interface>) -> bool {
        let mut view = self.view();
        let identities = |list: &[Interface]| {
            list.iter()
                .map(|i| (i.index, Arc::clone(&i.name), i.master))
                .collect::<Vec<_>>()
        };
        let changed = identities(&listed) != identities(&view.known);
        view.known = listed;
        changed
    }

    /// Gives zones the numbers that their interfaces have now.
    pub(in crate::daemon) fn renumber(&self) -> Result<()> {
        let mut publisher = lock(&self.publisher);
        let (generation, active) = {
            let view = self.view();
            (Arc::clone(&view.generation), view.active)
        };
        let Some(active) = active.filter(|active| active.hash == generation.hash()) else {
            // A generation that an earlier daemon pinned: only its files can tell its zones.
            drop(publisher);
            return self.reload(By::start(), None).map(drop);
        };
        let placement = self.placement(Some(active), active.hash, true, Provenance::Text);
        Ok(publisher.publish_image(&generation, &placement)?)
    }
}
