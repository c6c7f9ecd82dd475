//! Which file of a package uses which other, read from its source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The path of a module from the root of its package, such as `["backup", "create"]`.
type ModulePath = Vec<String>;

/// What a name stands for: words from the root of the package.
type Names = BTreeMap<String, Vec<String>>;

struct Module {
    /// From the source folder.
    file: PathBuf,
    names: Names,
    /// Every path that stands in it, resolved as far as its own names go.
    used: BTreeSet<Vec<String>>,
}

/// The files of a package by their paths from `src`, each with those that it uses. Code for tests alone does not count.
pub(crate) fn used_files(src: &Path) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let mut modules = BTreeMap::new();
    for root in ["lib.rs", "main.rs"] {
        if src.join(root).exists() {
            // A program beside a library is a root of its own.
            let path = if modules.is_empty() { Vec::new() } else { vec!["main".to_owned()] };
            read(src, Path::new(root), &path, &mut modules);
        }
    }
    modules
        .iter()
        .map(|(path, module)| {
            let used = module.used.iter().filter_map(|used| home(used, &modules, 0));
            let others = used.filter(|home| home != path).map(|home| modules[&home].file.clone());
            (module.file.clone(), others.collect())
        })
        .collect()
}

/// The module in which what a path names is defined, behind whatever passes it on.
fn home(path: &[String], modules: &BTreeMap<ModulePath, Module>, depth: usize) -> Option<ModulePath> {
    let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let passed_on = path.get(length).and_then(|name| modules[&path[..length]].names.get(name));
    match passed_on {
        Some(further) if depth < 8 => {
            let further: Vec<String> = further.iter().chain(&path[length + 1..]).cloned().collect();
            home(&further, modules, depth + 1).or_else(|| Some(path[..length].to_vec()))
        }
        // The root of a package is no place to be used: it only lists its modules.
        _ => (length > 0 || path.len() == 1).then(|| path[..length].to_vec()),
    }
}

fn read(src: &Path, file: &Path, path: &ModulePath, modules: &mut BTreeMap<ModulePath, Module>) {
    let text = fs::read_to_string(src.join(file)).unwrap();
    let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut reader = Reader { path, names: Names::new(), children: Vec::new(), paths: BTreeSet::new() };
    reader.visit_file(&parsed);
    let Reader { names, children, paths, .. } = reader;
    let used = paths.iter().filter_map(|used| resolve(used, path, &names, &children)).collect();
    let folder = match file.file_stem().unwrap().to_str().unwrap() {
        "lib" | "main" => PathBuf::new(),
        _ => file.with_extension(""),
    };
    for child in &children {
        let mut below = path.clone();
        below.push(child.clone());
        read(src, &folder.join(child).with_extension("rs"), &below, modules);
    }
    modules.insert(path.clone(), Module { file: file.to_owned(), names, used });
}

/// A path as it stands in a module, from the root of the package; `None` if it leads out of it.
fn resolve(used: &[String], path: &ModulePath, names: &Names, children: &[String]) -> Option<Vec<String>> {
    let rest = used[1..].to_vec();
    match used[0].as_str() {
        "crate" => Some(rest),
        "self" => Some([path.clone(), rest].concat()),
        "super" => resolve(
            &[vec!["self".to_owned()], rest].concat(),
            &path[..path.len().checked_sub(1)?].to_vec(),
            names,
            children,
        )
        .map(|found| {
            // `super::super`
            let mut found = found;
            while let Some(at) = found.iter().position(|word| word == "super") {
                found.remove(at);
                found.remove(at.saturating_sub(1));
            }
            found
        }),
        first if names.contains_key(first) => Some([names[first].clone(), rest].concat()),
        first if children.iter().any(|child| child == first) => Some([path.clone(), used.to_vec()].concat()),
        _ => None,
    }
}

struct Reader<'a> {
    path: &'a ModulePath,
    names: Names,
    children: Vec<String>,
    paths: BTreeSet<Vec<String>>,
}

impl Reader<'_> {
    /// What is only passed on is not used here.
    fn note_use(&mut self, before: &[String], tree: &syn::UseTree, is_passed_on: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.note_use(&with(&path.ident), &path.tree, is_passed_on),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.note_use(before, tree, is_passed_on));
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.note_name(before.last().cloned(), before, is_passed_on)
            }
            syn::UseTree::Name(name) => {
                self.note_name(Some(name.ident.to_string()), &with(&name.ident), is_passed_on)
            }
            syn::UseTree::Rename(rename) if rename.ident == "self" => {
                self.note_name(Some(rename.rename.to_string()), before, is_passed_on);
            }
            syn::UseTree::Rename(rename) => {
                self.note_name(Some(rename.rename.to_string()), &with(&rename.ident), is_passed_on)
            }
            syn::UseTree::Glob(_) => {
                self.paths.insert(before.to_vec());
            }
        }
    }

    fn note_name(&mut self, name: Option<String>, path: &[String], is_passed_on: bool) {
        let full = resolve(path, self.path, &Names::new(), &self.children);
        if let (Some(name), Some(full)) = (name, full) {
            self.names.insert(name, full);
        }
        if !is_passed_on {
            self.paths.insert(path.to_vec());
        }
    }

    /// Paths in the words of a macro, which nobody parses before it is expanded.
    fn note_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                proc_macro2::TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.note_path(std::mem::take(&mut path));
                    }
                    path.push(word.to_string());
                    colons = 0;
                }
                other => {
                    self.note_path(std::mem::take(&mut path));
                    colons = 0;
                    if let proc_macro2::TokenTree::Group(group) = other {
                        self.note_tokens(group.stream());
                    }
                }
            }
        }
        self.note_path(path);
    }

    fn note_path(&mut self, path: Vec<String>) {
        if !path.is_empty() {
            self.paths.insert(path);
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|it| {
        let syn::Meta::List(list) = &it.meta else { return false };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(it) => &it.attrs,
            syn::Item::Use(it) => &it.attrs,
            syn::Item::Fn(it) => &it.attrs,
            syn::Item::Impl(it) => &it.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        match &item.content {
            None => self.children.push(item.ident.to_string()),
            Some(_) => visit::visit_item_mod(self, item),
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_use(&[], &item.tree, !matches!(item.vis, syn::Visibility::Inherited));
    }

    // `pub(super)` says who may use an item, not what is used.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note_path(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, it: &'ast syn::Macro) {
        self.note_path(it.path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        self.note_tokens(it.tokens.clone());
    }
}

/// The circles of a graph: sets of files of which each leads to each other.
pub(crate) fn circles(graph: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> Vec<BTreeSet<PathBuf>> {
    let reached = |start: &PathBuf| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(file) = open.pop() {
            for next in graph.get(file).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&PathBuf, BTreeSet<PathBuf>> =
        graph.keys().map(|file| (file, reached(file))).collect();
    let mut found: Vec<BTreeSet<PathBuf>> = Vec::new();
    for (file, from_here) in &reach {
        if from_here.contains(*file) && !found.iter().any(|circle| circle.contains(*file)) {
            found.push(from_here.iter().filter(|other| reach[other].contains(*file)).cloned().collect());
        }
    }
    found
}
