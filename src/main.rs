// SPDX-License-Identifier: Apache-2.0
//! The command line program: parse, run, report.

#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main(std::env::args_os().collect())
}
