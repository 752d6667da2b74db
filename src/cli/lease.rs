// SPDX-License-Identifier: Apache-2.0
//! `umoci lease`: blobs that gc spares for a time.

use umoci::error::{Error, ErrorKind};
use umoci::progress::Monitor;

use super::args::{LayoutArg, WholeArg, blob, duration, positionals};
use super::failure::{Failure, Outcome};
use super::table::Table;
use super::ui::Ui;

/// keeps blobs from gc without a name
#[derive(clap::Subcommand, Debug)]
pub enum Lease {
    Create(Create),
    List(List),
    Remove(Remove),
}

impl Lease {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        match self {
            Lease::Create(command) => command.run(ui),
            Lease::List(command) => command.run(ui),
            Lease::Remove(command) => command.run(ui),
        }
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
    #[arg(long, value_name = "duration")]
    expires: Option<String>,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Create {
    fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let time = self
            .expires
            .as_deref()
            .map(|text| duration(text, "--expires"))
            .transpose()?;
        let (name, digests) = match self.rest.split_first() {
            Some((name, digests)) if !digests.is_empty() => (name, digests),
            _ => {
                let text = "invalid number of positional arguments: expected <name> <digest>...";
                return Err(Failure::Arguments(text.to_owned()));
            }
        };
        let store = self.layout.open()?;
        let digests = digests
            .iter()
            .map(|text| blob(&store, text))
            .collect::<Outcome<Vec<_>>>()?;
        let lease = store.create_lease(name, &digests, time)?;
        ui.info(format_args!(
            "created lease: {} on {} blobs",
            lease.name,
            lease.digests.len()
        ));
        Ok(())
    }
}

/// lists leases
///
/// Prints the leases with what they keep. One that has ended protects nothing, and goes with the next umoci gc.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path>")]
pub struct List {
    #[command(flatten)]
    layout: LayoutArg,
    /// print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whole: WholeArg,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl List {
    fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [] = positionals(&self.rest, [])?;
        let leases = self.layout.open()?.leases()?;
        if self.json {
            return ui.print_json(&leases);
        }
        let mut table = Table::new(&["NAME", "EXPIRES", "DIGEST"]);
        for lease in leases {
            let expires = match lease.expires {
                None => "never".to_owned(),
                Some(end) if lease.is_valid() => format!("{end:.0}"),
                Some(_) => "ended".to_owned(),
            };
            for digest in &lease.digests {
                table.row([lease.name.clone(), expires.clone(), digest.to_string()]);
            }
        }
        ui.print(self.whole.fit(table, ui).to_string().as_bytes())
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
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Remove {
    fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [name] = positionals(&self.rest, ["name"])?;
        if !self.layout.open()?.remove_lease(name)? {
            return Err(Error::new(ErrorKind::NotFound, format!("lease not found: {name}")).into());
        }
        ui.info(format_args!("removed lease: {name}"));
        Ok(())
    }
}
