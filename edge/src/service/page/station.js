"use strict";
// Shows /api/state, /field.jpg and /coverage.svg. Text only ever enters the page as text.

const at = (id) => document.getElementById(id);
const number = (value, digits) => (value === null ? "-" : value.toFixed(digits));

function filled(parent, children) {
  parent.replaceChildren(...children);
}

function element(kind, text, name) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function row(cells, name) {
  const made = document.createElement("tr");
  if (name) made.className = name;
  made.append(...cells.map((cell) => element("td", cell)));
  return made;
}

function classRow(it) {
  const limits = it.limits_percent;
  const range = limits ? `${limits[0].toFixed(1)}-${limits[1].toFixed(1)}` : "";
  return row([it.class, it.count, it.percent === null ? "" : it.percent.toFixed(1), range]);
}

function meterRow(it) {
  const low = it.min !== null && it.value !== null && it.value < it.min;
  const high = it.max !== null && it.value !== null && it.value > it.max;
  const mark = low ? " too low" : high ? " too high" : "";
  const limits = `${number(it.min, 2)} .. ${number(it.max, 2)}`;
  return row([it.name, `${number(it.value, 3)} ${it.unit}${mark}`, limits], low || high ? "out" : "");
}

function show(state) {
  filled(at("banners"), state.banners.map((it) => element("p", it.text, it.level)));
  const live = state.mode === "running";
  at("verdict").textContent = !live ? `mode: ${state.mode}`
    : state.field.counted ? "This field is counted."
    : `Not counted: ${state.field.reasons.join("; ") || "nothing to judge yet"}`;
  const open = state.case;
  at("count").textContent = open ? `${open.counted} of ${open.target}` : "no case";
  at("advice").textContent = open ? [open.state.replace("_", " "), `${open.fields} fields`, open.advice]
    .filter(Boolean).join(" - ") : "";
  filled(at("rows"), open ? open.rows.map(classRow) : []);
  filled(at("meters"), state.field.meters.map(meterRow));
  const domain = state.domain;
  at("domain").textContent = domain ? `Slide against training pictures: ${domain.nearness || "not enough fields"}` +
    ` (${domain.fields} fields)` : "";
  filled(at("look"), domain ? domain.meters.map(meterRow) : []);
  const clock = !state.moment || state.moment.wall === null ? "clock not set"
    : new Date(state.moment.wall * 1000).toLocaleString();
  at("about").textContent = [`source ${state.source.name} (${state.source.state})`,
    `model ${state.model.name} ${state.model.sha256.slice(0, 12)}`, `version ${state.software}`, clock].join(" - ");
}

async function lookAtState() {
  try {
    const answer = await fetch("/api/state");
    if (!answer.ok) throw new Error(`answer ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    filled(at("banners"), [element("p", `No connection to the station: ${error.message}`, "error")]);
  }
  setTimeout(lookAtState, 1000);
}

let tag = "";
let shown = "";
async function lookAtPicture() {
  try {
    if (!document.hidden) {
      const answer = await fetch("/field.jpg", { headers: tag ? { "If-None-Match": tag } : {} });
      if (answer.status === 200) {
        const picture = URL.createObjectURL(await answer.blob());
        at("picture").src = picture;
        URL.revokeObjectURL(shown);
        [shown, tag] = [picture, answer.headers.get("ETag") || ""];
        at("coverage").src = `/coverage.svg?${encodeURIComponent(tag)}`;
        at("coverage").hidden = false;
      }
    }
  } catch {
    // The state tells that the station is gone.
  }
  setTimeout(lookAtPicture, 500);
}

lookAtState();
lookAtPicture();
