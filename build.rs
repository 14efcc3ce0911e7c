//! Builds the program anew when the pages or the migrations that it embeds have changed.

fn main() {
    println!("cargo::rerun-if-changed=web/dist");
    println!("cargo::rerun-if-changed=migrations");
}
