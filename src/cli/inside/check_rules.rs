// SPDX-License-Identifier: Apache-2.0
//! Rules for `umoci check-image`: from options, from `.umoci-check.json`, or from the `.dive-ci` that is there already.

use crate::node::TreePath;
use crate::store::parse_size;

use super::super::prelude::*;

/// Maximum size of a file of rules, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Files of rules in the working directory, of which the first that is there counts.
const FILES: [&str; 2] = [".umoci-check.json", ".dive-ci"];

/// Rules as options and as members of the JSON file.
#[derive(clap::Args, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuleArgs {
    /// maximum part of the bytes in layers that nobody sees, as 5% or 0.05
    #[arg(long = "max-waste", value_name = "part", value_parser = part)]
    #[serde(deserialize_with = "of_text::part")]
    pub max_waste: Option<f64>,
    /// maximum bytes in layers that nobody sees, as 20MB
    #[arg(long = "max-waste-bytes", value_name = "size", value_parser = parse_size)]
    #[serde(deserialize_with = "of_text::size")]
    pub max_waste_bytes: Option<u64>,
    /// minimum part of the bytes in layers that is live, as 0.95 or 95%
    #[arg(long = "min-efficiency", value_name = "part", value_parser = part)]
    #[serde(deserialize_with = "of_text::part")]
    pub min_efficiency: Option<f64>,
    /// maximum size of all layers, compressed
    #[arg(long = "max-size", value_name = "size", value_parser = parse_size)]
    #[serde(deserialize_with = "of_text::size")]
    pub max_size: Option<u64>,
    /// maximum number of layers
    #[arg(long = "max-layers", value_name = "number")]
    pub max_layers: Option<u64>,
    /// no layer has such a path, also none that a later layer removes; without a slash the pattern is about names in any directory;
    /// may be given more than once
    #[arg(long, value_name = "pattern")]
    pub forbid: Vec<String>,
    /// no file that came above this image has setuid or setgid
    #[arg(long = "forbid-setuid-since", value_name = "image")]
    pub forbid_setuid_since: Option<String>,
    /// there is something at this path; may be given more than once
    #[arg(long, value_name = "path")]
    pub require: Vec<String>,
}

impl RuleArgs {
    /// Returns these rules over those of a file: `file`, or else the one in the working directory. Of a rule that both have that of the
    /// option counts; patterns and paths add up.
    pub fn with_file(self, file: Option<&str>) -> Outcome<Self> {
        let found = FILES.into_iter().find(|name| Path::new(name).exists());
        let Some(name) = file.or(found) else {
            return Ok(self);
        };
        let path = Path::new(name);
        let bytes = crate::fs::read_file(path, MAX_FILE)?;
        let text = String::from_utf8_lossy(&bytes);
        let rules = if text.trim_start().starts_with('{') {
            crate::spec::json::parse(&bytes).context(|| format!("read rules of {name}"))?
        } else {
            of_dive(&text).map_err(|why| Failure::Arguments(format!("read rules of {name}: {why}")))?
        };
        Ok(self.over(rules))
    }

    fn over(self, file: Self) -> Self {
        Self {
            max_waste: self.max_waste.or(file.max_waste),
            max_waste_bytes: self.max_waste_bytes.or(file.max_waste_bytes),
            min_efficiency: self.min_efficiency.or(file.min_efficiency),
            max_size: self.max_size.or(file.max_size),
            max_layers: self.max_layers.or(file.max_layers),
            forbid: [file.forbid, self.forbid].concat(),
            forbid_setuid_since: self.forbid_setuid_since.or(file.forbid_setuid_since),
            require: [file.require, self.require].concat(),
        }
    }
}

/// Reads the file of dive: `key: value` a line, below `rules:`.
fn of_dive(text: &str) -> Result<RuleArgs, String> {
    let mut out = RuleArgs::default();
    for (number, line) in text.lines().enumerate() {
        let at = |why: &str| format!("line {}: {why}", number + 1);
        // A comment begins a line or stands behind a blank.
        let line = line.split_once(" #").map_or(line, |(line, _)| line).trim();
        if line.is_empty() || line.starts_with('#') || matches!(line, "---" | "rules:") {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            return Err(at(&format!("{line:?} is no 'key: value'")));
        };
        let value = value.trim().trim_matches(['"', '\'']);
        if value == "disabled" {
            continue;
        }
        let read = match key.trim().trim_matches(['"', '\'']) {
            "lowestEfficiency" => part(value).map(|part| out.min_efficiency = Some(part)),
            "highestUserWastedPercent" => part(value).map(|part| out.max_waste = Some(part)),
            "highestWastedBytes" => parse_size(value)
                .map(|size| out.max_waste_bytes = Some(size))
                .map_err(|why| why.to_string()),
            other => Err(format!("unknown rule {other:?}")),
        };
        read.map_err(|why: String| at(&why))?;
    }
    Ok(out)
}

/// Reads a part of 1: `0.05` or `5%`.
fn part(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').map(|number| (number, 100.0));
    let (number, whole) = number.unwrap_or((text, 1.0));
    let part = number.parse::<f64>().ok().map(|number| number / whole);
    let part = part.filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| format!("{text:?} (write a part of 1, as 0.05 or 5%)"))
}

/// Reads a path that is required.
pub fn required(text: &str) -> Outcome<TreePath> {
    TreePath::clean(text.as_bytes()).map_err(invalid("--require"))
}

/// Values of the JSON file: numbers, or texts as options have them.
mod of_text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer};
    use serde_json::Value;

    pub fn part<'de, D: Deserializer<'de>>(input: D) -> Result<Option<f64>, D::Error> {
        super::part(&text(input)?).map(Some).map_err(D::Error::custom)
    }

    pub fn size<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
        super::parse_size(&text(input)?)
            .map(Some)
            .map_err(D::Error::custom)
    }

    fn text<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
        Ok(match Value::deserialize(input)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_dive_is_read_line_by_line() {
        let text = "# CI\nrules:\n  # off\n  lowestEfficiency: 0.9 # part\n  highestWastedBytes: \"20MB\"\n  highestUserWastedPercent: disabled\n";
        let rules = of_dive(text).expect("rules");
        assert_eq!(
            (rules.min_efficiency, rules.max_waste_bytes, rules.max_waste),
            (Some(0.9), Some(20_000_000), None)
        );
        for (text, want) in [
            ("rules:\n  lowest: 1", "line 2: unknown rule \"lowest\""),
            (
                "lowestEfficiency",
                "line 1: \"lowestEfficiency\" is no 'key: value'",
            ),
            (
                "lowestEfficiency: 2",
                "line 1: \"2\" (write a part of 1, as 0.05 or 5%)",
            ),
            (
                "highestWastedBytes: x",
                "line 1: \"x\" (write bytes, or as 500MB, 20GB, 20GiB)",
            ),
        ] {
            assert_eq!(of_dive(text).expect_err(want), want);
        }
    }
}
