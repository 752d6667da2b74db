// SPDX-License-Identifier: Apache-2.0
//! `umoci lease`: blobs that gc spares for a time.

use crate::store::parse_duration;

use super::prelude::*;

commands! {
    /// keeps blobs from gc without a name
    Lease {
        Create(Create),
        List(List),
        Remove(Remove),
    }
}

/// keeps blobs, with all that they need
///
/// Makes a lease called <name> on blobs of the layout: umoci gc spares them, and all that they need, until the lease is
/// removed or ends. A lease of that name is replaced. Digests may be cut to 7 or more hex digits.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> [--expires <duration>] <name> <digest>...")]
pub struct Create {
    #[command(flatten)]
    layout: LayoutArg,
    /// when the lease ends, such as 24h; never if not given
    #[arg(long, value_name = "duration", value_parser = parse_duration)]
    expires: Option<Duration>,
}

impl Create {
    fn run(self, ui: &Ui) -> Outcome {
        let Some((name, digests @ [_, ..])) = self.layout.rest.split_first() else {
            refuse!("invalid number of positional arguments: expected <name> <digest>...");
        };
        let store = self.layout.open()?;
        let digests = digests.iter().map(|text| blob(&store, text));
        // A lease of this name is replaced, which is how scripts renew one.
        let lease = store.create_lease(name, &digests.collect::<Outcome<Vec<_>>>()?, self.expires)?;
        let (name, count) = (&lease.name, lease.digests.len());
        ui.info(format_args!("created lease: {name} on {count} blobs"));
        Ok(())
    }
}

/// lists leases
///
/// Prints the leases with what they keep. One that has ended protects nothing, and goes with the next umoci gc.
#[derive(clap::Args, Debug)]
pub struct List {
    #[command(flatten)]
    layout: LayoutArg,
    #[command(flatten)]
    output: TableArgs,
}

impl List {
    fn run(self, ui: &Ui) -> Outcome {
        let (store, []) = self.layout.open_words([])?;
        let leases = store.leases()?;
        let mut table = Table::new(&["NAME", "EXPIRES", "DIGEST"]);
        for lease in &leases {
            let expires = match lease.expires {
                None => "never".to_owned(),
                Some(end) if lease.is_valid() => format!("{end:.0}"),
                Some(_) => "ended".to_owned(),
            };
            // A row for each digest keeps the lines of a lease of many blobs short.
            for digest in &lease.digests {
                table.row([lease.name.clone(), expires.clone(), digest.to_string()]);
            }
        }
        self.output.show(&leases, table, ui)
    }
}

/// ends a lease
///
/// Removes a lease, which must exist. What nothing else keeps goes with the next umoci gc.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <name>")]
pub struct Remove {
    #[command(flatten)]
    layout: LayoutArg,
}

impl Remove {
    fn run(self, ui: &Ui) -> Outcome {
        let (store, [name]) = self.layout.open_words(["name"])?;
        if !store.remove_lease(name)? {
            fail!(NotFound, "lease not found: {name}");
        }
        ui.info(format_args!("removed lease: {name}"));
        Ok(())
    }
}
