//! Lets `tests/run.sh --mutants` build a server with one protection taken out, or with any of them chosen
//! when the tests run (`src/mutants.rs`). Without the variable
//! this does nothing, and `cfg!(mutant = "…")` is false everywhere.

#[expect(clippy::disallowed_methods, reason = "a build script is told by the environment")]
fn main() {
    println!("cargo:rerun-if-env-changed=STANDPIPE_MUTANT");
    println!("cargo:rustc-check-cfg=cfg(mutant, values(any()))");
    println!("cargo:rustc-check-cfg=cfg(mutants)");
    if let Ok(name) = std::env::var("STANDPIPE_MUTANT")
        && !name.is_empty()
    {
        if name == "any" {
            println!("cargo:rustc-cfg=mutants");
        } else {
            println!("cargo:rustc-cfg=mutant=\"{name}\"");
        }
    }
}
