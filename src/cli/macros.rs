// SPDX-License-Identifier: Apache-2.0
//! Forms that many commands repeat.

/// Defines the commands below one word, and runs the one that was called.
macro_rules! commands {
    ($(#[$about:meta])* $name:ident { $($(#[$attribute:meta])* $command:ident($arguments:ty),)* }) => {
        $(#[$about])*
        #[derive(clap::Subcommand, Debug)]
        pub enum $name { $($(#[$attribute])* $command($arguments),)* }

        impl $name {
            /// Runs the command.
            pub fn run(self, ui: &$crate::cli::ui::Ui) -> $crate::cli::failure::Outcome {
                match self { $(Self::$command(command) => command.run(ui),)* }
            }
        }
    };
}

/// Returns from a function, because the words of the command do not fit in a way that clap cannot see.
macro_rules! refuse {
    ($($text:tt)*) => { return Err($crate::cli::failure::Failure::Arguments(format!($($text)*))) };
}
