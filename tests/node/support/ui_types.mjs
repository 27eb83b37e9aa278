// Compares the types that the UI's JSDoc declares with the schemas of `/v1/spec`.

import ts from "typescript";

const { SymbolFlags, TypeFlags } = ts;

const OPTIONS = { allowJs: true, checkJs: true, strict: true, noEmit: true, lib: ["lib.es2022.d.ts"], types: [] };
// A file that declares the one browser type in use, and the library's files, which are read once.
const PLATFORM = "platform.d.ts";
const libraries = new Map();

/** The types of a module with JSDoc, as TypeScript reads them. */
export class Declared {
  constructor(file, text) {
    const host = ts.createCompilerHost(OPTIONS);
    const read = host.getSourceFile;
    host.getSourceFile = (name, ...how) => {
      if (name === file) return ts.createSourceFile(name, text, ts.ScriptTarget.ES2022);
      if (name === PLATFORM) return ts.createSourceFile(name, "interface Response {}", ts.ScriptTarget.ES2022);
      if (!libraries.has(name)) libraries.set(name, read(name, ...how));
      return libraries.get(name);
    };
    const program = ts.createProgram([file, PLATFORM], OPTIONS, host);
    this.checker = program.getTypeChecker();
    const source = program.getSourceFile(file);
    this.errors = program.getSemanticDiagnostics(source).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
    const exported = this.checker.getExportsOfModule(this.checker.getSymbolAtLocation(source));
    this.symbols = new Map(exported.map((symbol) => [symbol.name, symbol]));
  }

  type(name) {
    return this.checker.getDeclaredTypeOfSymbol(this.symbols.get(name));
  }

  /** The names of the given types and of all types that they refer to. */
  partsOf(names) {
    const found = new Set();
    const visit = (name) => {
      if (found.has(name) || !this.symbols.has(name)) return;
      found.add(name);
      const walk = (node) => {
        if (ts.isIdentifier(node)) visit(node.text);
        ts.forEachChild(node, walk);
      };
      for (const declaration of this.symbols.get(name).declarations) walk(declaration);
    };
    names.forEach(visit);
    return found;
  }

  /** The functions of an object type and of objects in it, each as `[path, type of its promise's value]`. */
  promisesOf(type, path = []) {
    return type.getProperties().flatMap((member) => {
      const [at, of] = [[...path, member.name], this.checker.getTypeOfSymbol(member)];
      const [call] = of.getCallSignatures();
      return call ? [[at, this.checker.getAwaitedType(call.getReturnType())]] : this.promisesOf(of, at);
    });
  }
}

/** Collects the differences between declared types and schemas, one sentence for each. */
export class Comparison {
  problems = [];
  #declaredWords = new Map();
  #knownWords = new Map();
  #seen = new Set();

  constructor({ checker }, specification) {
    this.checker = checker;
    this.specification = specification;
  }

  /**
   * Every member of `type` must be in `schema`, with the same type, and be optional or nullable exactly if it is there.
   * An optional member is left out rather than null.
   */
  compare(type, schema, place, isOptional = false) {
    if (type.flags & TypeFlags.AnyOrUnknown) return;
    const key = `${type.id} ${JSON.stringify(schema)}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    const parts = (type.isUnion() ? type.types : [type]).filter(({ flags }) => !(flags & TypeFlags.Undefined));
    const forms = this.#formsOf(schema);
    const rest = parts.filter(({ flags }) => !(flags & TypeFlags.Null));
    const isNullable = !isOptional && forms.some(({ type: kind }) => kind === "null");
    if (isNullable !== rest.length < parts.length) this.#tell(place, isNullable ? "may be null" : "is never null");
    const others = forms.filter(({ type: kind }) => kind !== "null");
    if (others.length === 1) return this.#compareForm(rest, others[0], place);
    for (const form of others) {
      const part = rest.find((one) => this.#isLike(one, form));
      if (part) this.#compareForm([part], form, place);
      else this.#tell(place, `is one of ${others.length} forms`);
    }
  }

  /**
   * Whether a part is the one that a schema means: a text, a number, or an object each of whose declared words may be in
   * the schema.
   */
  #isLike(part, schema) {
    if (part.flags & TypeFlags.StringLike) return schema.type === "string";
    if (part.flags & TypeFlags.NumberLike) return schema.type === "number" || schema.type === "integer";
    return part.getProperties().every(({ name }) => {
      const of = this.checker.getTypeOfSymbol(part.getProperty(name));
      const words = (of.isUnion() ? of.types : [of]).filter(({ flags }) => flags & TypeFlags.StringLiteral);
      const known = this.#formsOf(schema.properties?.[name] ?? {}).flatMap((form) => form.enum ?? []);
      return !words.length || !known.length || words.some(({ value }) => known.includes(value));
    });
  }

  /** Values of enums that the specification does not have. */
  unknownWords() {
    const known = (list, word) => this.#knownWords.get(list).has(word);
    return [...this.#declaredWords].flatMap(([list, words]) => words.filter((word) => !known(list, word)));
  }

  #tell(place, what) {
    this.problems.push(`${place} ${what}`);
  }

  /** A schema as a list of schemas with one type each. References are resolved. */
  #formsOf(schema) {
    if (schema.$ref) return this.#formsOf(this.specification.components.schemas[schema.$ref.split("/").at(-1)]);
    if (schema.anyOf) return schema.anyOf.flatMap((one) => this.#formsOf(one));
    return [schema.type].flat().map((type) => ({ ...schema, type, enum: schema.enum?.filter((word) => word !== null) }));
  }

  #compareForm(parts, schema, place) {
    const [first] = parts;
    const are = (flag) => parts.length > 0 && parts.every(({ flags }) => flags & flag);
    if (are(TypeFlags.StringLiteral)) {
      this.#compareWords(parts.map(({ value }) => value), schema, place);
    } else if (are(TypeFlags.StringLike)) {
      if (schema.type !== "string") this.#tell(place, `is of type ${schema.type}`);
    } else if (are(TypeFlags.NumberLike)) {
      if (!["integer", "number"].includes(schema.type)) this.#tell(place, `is of type ${schema.type}`);
    } else if (are(TypeFlags.BooleanLike)) {
      if (schema.type !== "boolean") this.#tell(place, `is of type ${schema.type}`);
    } else if (parts.length !== 1) {
      this.#tell(place, "is declared as several types");
    } else if (this.checker.isArrayType(first)) {
      if (schema.type !== "array") return this.#tell(place, `is of type ${schema.type}`);
      this.compare(this.checker.getTypeArguments(first)[0], schema.items, `${place}[]`);
    } else {
      if (schema.type !== "object") return this.#tell(place, `is of type ${schema.type}`);
      this.#compareMembers(first, schema, place);
    }
  }

  #compareWords(words, schema, place) {
    const list = words.toSorted().join();
    this.#declaredWords.set(list, words);
    if (!this.#knownWords.has(list)) this.#knownWords.set(list, new Set());
    if (!schema.enum) return this.#tell(place, "is not an enum");
    for (const word of schema.enum) {
      this.#knownWords.get(list).add(word);
      if (!words.includes(word)) this.#tell(place, `may be ${word}`);
    }
  }

  #compareMembers(type, schema, place) {
    const anyMember = this.checker.getIndexInfosOfType(type)[0];
    if (anyMember && !schema.additionalProperties) this.#tell(place, "has no members besides its named ones");
    else if (anyMember && schema.additionalProperties !== true) {
      this.compare(anyMember.type, schema.additionalProperties, `${place}{}`);
    }
    for (const member of type.getProperties()) {
      const [at, of] = [`${place}.${member.name}`, schema.properties?.[member.name]];
      if (!of) {
        this.#tell(at, "does not exist");
        continue;
      }
      const isOptional = !schema.required?.includes(member.name);
      if (isOptional !== Boolean(member.flags & SymbolFlags.Optional)) {
        this.#tell(at, isOptional ? "may be left out" : "is never left out");
      }
      this.compare(this.checker.getTypeOfSymbol(member), of, at, isOptional);
    }
  }
}
