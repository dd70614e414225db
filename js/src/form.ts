/** The controls, in groups, drawn from what Python says of every field. */
import { createControl } from "./controls/control";
import { html, on, say, set, unique } from "./dom";
import type { Field, Group, Report, Rule, Value } from "./messages";

export type Read = (name: string) => unknown;
export type Change = (name: string, value: Value) => void;

/** `beneath` holds what stands below the fields of a group, by the group's name. */
export function createForm(groups: Group[], change: Change, beneath: Record<string, HTMLElement>) {
  let showAll = false;
  const sections = groups.map((group) => createSection(group, change, beneath[group.name]));
  const toggle = html("button", {
    class: "vw-button vw-all",
    "aria-expanded": "false",
  });
  const element = html(
    "form",
    { class: "vw-form", "aria-label": "Training configuration", autocomplete: "off" },
    ...sections.map((section) => section.element),
    toggle,
  );
  on(element, "submit", (event) => event.preventDefault());
  on(toggle, "click", () => {
    showAll = !showAll;
    latest?.();
  });

  toggle.hidden = !groups.some(({ fields }) => fields.some(({ advanced }) => advanced));

  let latest: (() => void) | undefined;
  function update(read: Read, report: Report): void {
    latest = () => {
      for (const section of sections) {
        section.update(read, report, showAll);
      }
      say(toggle, showAll ? "Fewer settings" : "All settings");
      set(toggle, { "aria-expanded": String(showAll) });
    };
    latest();
  }
  return { element, update };
}

export function createSection(group: Group, change: Change, beneath?: HTMLElement) {
  const title = unique(group.name.replaceAll(" ", "-"));
  const remark = html("p", { class: "vw-remark vw-small" });
  const rows = group.fields.map((field) => createRow(field, change));
  const element = html(
    "section",
    { class: "vw-group", "aria-labelledby": title, "data-group": group.name },
    html("h3", { id: title }, group.label),
    ...rows.map((row) => row.element),
    ...(beneath ? [beneath] : []),
    remark,
  );

  function update(read: Read, report: Report, showAll: boolean): void {
    for (const row of rows) {
      row.update(read, report, showAll);
    }
    say(remark, report.remarks[group.name] ?? "");
    remark.hidden = remark.textContent === "";
    element.hidden = rows.every((row) => row.element.hidden);
  }
  return { element, update };
}

function createRow(field: Field, change: Change) {
  const id = unique(field.name);
  const control = createControl(field, id, (value) => change(field.name, value));
  // Where the control is as wide as the form, the title of the group says what it is.
  const named = { for: id, id: `${id}-label`, class: control.shape === "below" && "vw-unseen" };
  const label = html("label", { ...named, title: field.help }, field.label);
  const help = html("span", { id: `${id}-help`, class: "vw-unseen" }, field.help);
  const error = html("p", { id: `${id}-error`, class: "vw-error", role: "alert" });
  const element = html(
    "div",
    { class: `vw-row vw-row-${control.shape}`, "data-field": field.name },
    label,
    control.element,
    help,
    error,
  );

  let value: Value = null;
  // Escape takes back what was refused, and with it the error.
  const takeBack = ({ key }: KeyboardEvent) => {
    if (key === "Escape" && !error.hidden) {
      change(field.name, value);
    }
  };
  on(element, "keydown", takeBack, { capture: true });

  function update(read: Read, report: Report, showAll: boolean): void {
    value = read(field.name) as Value;
    const refused = report.errors[field.name];
    const plain = !field.advanced || showAll || value !== field.default;
    element.hidden = !(refused || (plain && holds(field.shown_when, read)));
    say(error, refused ?? "");
    error.hidden = !refused;
    set(control.input, {
      "aria-invalid": refused ? "true" : null,
      "aria-describedby": refused ? `${id}-help ${id}-error` : `${id}-help`,
      placeholder: report.placeholders[field.name],
    });
    control.show(value, Boolean(refused));
  }
  return { element, update };
}

/** Whether every condition of a rule is met by the values of the form. */
export function holds(rule: Rule | undefined, read: Read): boolean {
  return Object.entries(rule ?? {}).every(([name, wanted]) => {
    const value = read(name) as Value;
    return Array.isArray(wanted) ? wanted.includes(value) : Number(value) >= wanted.minimum;
  });
}
