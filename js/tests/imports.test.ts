import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const SOURCE = join(import.meta.dirname, "..", "src");

/** Each file with the files of ours that it imports, for their types or more. */
function imports(): Map<string, string[]> {
  const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" });
  const found = files
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"))
    .map((name): [string, string[]] => {
      const text = readFileSync(join(SOURCE, name), "utf8");
      const paths = Array.from(
        text.matchAll(/\b(?:from |import\()"(\.[^"]+)"/g),
        ([, path = ""]) => path,
      );
      return [name, paths.map((path) => `${join(name, "..", path)}.ts`)];
    });
  return new Map(found);
}

/** A circle of imports, as the files on the way round; nothing where there is none. */
function circle(graph: Map<string, string[]>): string[] | undefined {
  const clear = new Set<string>();
  function follow(file: string, way: string[]): string[] | undefined {
    if (way.includes(file)) {
      return [...way.slice(way.indexOf(file)), file];
    }
    if (clear.has(file)) {
      return undefined;
    }
    for (const next of graph.get(file) ?? []) {
      const found = follow(next, [...way, file]);
      if (found) {
        return found;
      }
    }
    clear.add(file);
    return undefined;
  }
  for (const file of graph.keys()) {
    const found = follow(file, []);
    if (found) {
      return found;
    }
  }
  return undefined;
}

describe("the imports of the source", () => {
  it("go in no circle", () => {
    const graph = imports();
    expect(graph.get("widget.ts")).toContain("form.ts");
    for (const file of Array.from(graph.values()).flat()) {
      expect(graph.has(file), file).toBe(true);
    }
    expect(circle(graph)).toBeUndefined();
  });

  it("are found to go in a circle where they do", () => {
    const graph = new Map([
      ["a", ["b"]],
      ["b", ["c"]],
      ["c", ["b"]],
    ]);
    expect(circle(graph)).toEqual(["b", "c", "b"]);
  });
});
