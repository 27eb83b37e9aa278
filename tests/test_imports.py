"""No two files of src/ import each other in a circle, however long.

An arrow leads from a file to each file of which it names an item: in a `use` or in a path that begins with `crate`,
`self` or `super`. A re-export leads to the file that declares the item. Tests and fuzz targets are left out.
"""

import pathlib
import re

SRC = pathlib.Path(__file__).resolve().parent.parent / "src"
LEFT_OUT = re.compile(r"/(tests|fuzz|testing)(\.rs|/)")
USE = re.compile(r"^\s*(?P<pub>pub(?:\([^)]*\))? )?use (?P<tree>[\w:]+[^;]*);", re.MULTILINE)


def sources():
    """The code of each file by its module's path, without comments, visibilities and unit tests."""
    found = {}
    for file in SRC.rglob("*.rs"):
        if LEFT_OUT.search(file.as_posix()) or file == SRC / "main.rs":
            continue
        parts = file.relative_to(SRC).with_suffix("").parts
        module = () if parts == ("lib",) else parts[:-1] if parts[-1] == "mod" else parts
        code = re.sub(r"//[^\n]*", "", file.read_text())
        code = re.sub(r"pub\(in [\w:]+\)", "pub", code)
        found[module] = re.split(r"#\[cfg\(test\)\]\s*mod \w+ \{", code)[0]
    return found


def paths(tree):
    """The paths in a `use` tree, each with the name that it is imported under."""
    tree = re.sub(r"\s+", " ", tree)
    open_prefixes, prefix, word = [], "", ""
    for char in tree + ",":
        if char == "{":
            open_prefixes.append(prefix)
            prefix, word = prefix + word.strip(), ""
        elif char in ",}":
            if word.strip():
                path, _, alias = (prefix + word.strip()).partition(" as ")
                yield path.removesuffix("::self"), alias
            word = ""
            if char == "}":
                prefix = open_prefixes.pop()
        else:
            word += char


def absolute(path, module):
    """The parts of a path from the root of the crate; `None` for another crate's item."""
    first, *rest = path.split("::")
    if first == "crate":
        return tuple(rest)
    if first == "self":
        return module + tuple(rest)
    if first != "super":
        return None
    while rest and rest[0] == "super":
        module, rest = module[:-1], rest[1:]
    return module[:-1] + tuple(rest)


def imports():
    """The modules that each module imports."""
    code = sources()
    declared_in = {}
    for module, text in code.items():
        for use in USE.finditer(text):
            for path, alias in paths(use["tree"]) if use["pub"] else ():
                target = absolute(path, module)
                if target:
                    declared_in[module + (alias or target[-1],)] = target

    def module_of(item):
        for _ in range(5):
            known = next((item[:n] for n in range(len(item), 0, -1) if item[:n] in declared_in), None)
            if known is None or known in code:
                break
            item = declared_in[known] + item[len(known) :]
        while item not in code:
            item = item[:-1]
        return item

    arrows = {}
    for module, text in code.items():
        text = re.sub(r"pub(?:\([^)]*\))? use self::[^;]+;", "", text)
        named = [path for use in USE.finditer(text) for path, _ in paths(use["tree"])]
        named += re.findall(r"\b(?:crate|super|self)(?:::\w+)+", text)
        items = [item for item in (absolute(path, module) for path in named) if item]
        arrows[module] = {module_of(item) for item in items} - {module, ()}
    return arrows


def circle(arrows):
    """A circle, as a list of modules; `None` if there is none."""
    done = set()

    def walk(module, path):
        if module in path:
            return path[path.index(module) :] + [module]
        if module in done:
            return None
        for target in sorted(arrows.get(module, ())):
            found = walk(target, [*path, module])
            if found:
                return found
        done.add(module)
        return None

    return next(filter(None, (walk(module, []) for module in sorted(arrows))), None)


def test_no_files_import_each_other_in_a_circle():
    arrows = imports()
    assert ("journal", "handle") in arrows[("service", "core")], "a re-export is followed"
    found = circle(arrows)
    assert found is None, " -> ".join("::".join(module) for module in found)


def test_a_circle_is_found():
    assert circle({("a",): {("b",)}, ("b",): {("c",)}, ("c",): {("b",)}}) == [("b",), ("c",), ("b",)]
