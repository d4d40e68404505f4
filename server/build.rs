//! Lets `tests/run.sh --mutants` build a server with one protection taken out. Without the variable
//! this does nothing, and `cfg!(mutant = "…")` is false everywhere.

#[expect(clippy::disallowed_methods, reason = "a build script is told by the environment")]
fn main() {
    println!("cargo:rerun-if-env-changed=STANDPIPE_MUTANT");
    println!("cargo:rustc-check-cfg=cfg(mutant, values(any()))");
    if let Ok(name) = std::env::var("STANDPIPE_MUTANT")
        && !name.is_empty()
    {
        println!("cargo:rustc-cfg=mutant=\"{name}\"");
    }
}
