// Buttons, typed confirmations and progress. Without this script the page still shows everything.
"use strict";

(() => {
  const dialog = document.getElementById("ask");
  const live = document.getElementById("live");
  const parts = {
    title: document.getElementById("ask-title"),
    text: document.getElementById("ask-text"),
    facts: document.getElementById("ask-facts"),
    fields: document.getElementById("ask-fields"),
    refusal: document.getElementById("ask-refusal"),
    go: document.getElementById("ask-go"),
  };
  const watched = new Map();
  let asked = null;

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const bytes = (count) => {
    const units = ["bytes", "kB", "MB", "GB", "TB"];
    let unit = 0;
    while (count >= 1000 && unit < units.length - 1) { count /= 1000; unit += 1; }
    return `${unit === 0 ? count : count.toFixed(1)} ${units[unit]}`;
  };

  const call = async (method, path, body) => {
    const options = { method, headers: { Prefer: "respond-async" }, cache: "no-store" };
    if (body !== undefined) {
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    const answer = await fetch(path, options);
    const document = await answer.json();
    if (!answer.ok) throw new Error([document.error, ...(document.hints || [])].filter(Boolean).join(" · "));
    return document;
  };

  // Each action: what it asks, and what it does.
  const actions = {
    create: (data) => ({
      title: data.label ? `Back up ${data.label}` : "Back up now",
      text: "The backup has its name only when it is complete, on disk, hashed and proven.",
      fields: [["name", "Name (optional)", "text"], ["compress", "Compress", "check"]],
      go: "Back up",
      run: (values) => call("POST", "/api/backup/create", {
        ...(values.name ? { backup_name: values.name } : {}),
        ...(values.compress ? {} : { compress: false }),
        ...(data.database ? { database: data.database } : {}),
      }),
    }),
    verify: (data) => ({
      title: `Prove ${data.name}`,
      text: "How thoroughly? A restore needs the most time, and proves the most.",
      fields: [["level", "Level", "level"]],
      go: "Prove",
      run: (values) => call("POST", `/api/backup/verify/${encodeURIComponent(data.name)}`, { level: values.level }),
    }),
    restore: (data) => ({
      title: `Restore ${data.name}`,
      text: `This replaces what the database holds now with what ${data.label} held at ${data.time}.`,
      confirm: data.name,
      loss: () => call("POST", `/api/backup/restore/${encodeURIComponent(data.name)}`, { dry_run: true }),
      go: "Restore",
      danger: true,
      run: () => call("POST", `/api/backup/restore/${encodeURIComponent(data.name)}`, { confirm: data.name }),
    }),
    delete: (data) => ({
      title: `Delete ${data.name}`,
      text: `This deletes the backup of ${data.label} of ${data.time} for good.`,
      confirm: data.name,
      loss: () => call("DELETE", `/api/backup/delete/${encodeURIComponent(data.name)}?dry_run=true`),
      fields: [["last", "Even if it is the last good backup of its database", "uncheck"]],
      go: "Delete",
      danger: true,
      run: (values) => call("DELETE", `/api/backup/delete/${encodeURIComponent(data.name)}${values.last ? "?allow_last_copy=true" : ""}`),
    }),
  };

  const field = ([key, label, kind]) => {
    if (kind === "check" || kind === "uncheck") {
      const input = element("input", { type: "checkbox", name: key });
      input.checked = kind === "check";
      return element("label", { class: "check" }, input, label);
    }
    if (kind === "level") {
      const select = element("select", { name: key });
      for (const [value, words] of [["checksum", "Checksum: the file is the one that was written"], ["stream", "Stream: it can be read to its end, and holds a whole database"], ["restore", "Restore: it was restored, and holds what was observed"]]) {
        select.append(element("option", { value }, words));
      }
      select.value = "stream";
      return element("label", {}, label, select);
    }
    return element("label", {}, label, element("input", { type: "text", name: key, autocomplete: "off", spellcheck: "false", autocapitalize: "off" }));
  };

  // What destroys can be done when its name was typed, and after it was said what will be gone.
  const allow = () => {
    const typed = parts.fields.querySelector("[name=confirm]");
    parts.go.disabled = Boolean(typed) && (typed.value !== asked.confirm || !asked.isTold);
  };

  // What stands between backquotes as code.
  const quoted = (text) => text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part));

  const tellLoss = async (mine) => {
    try {
      const { loss } = await mine.loss();
      if (asked !== mine) return;
      const row = ([term, key]) => element("div", {}, element("dt", {}, term), element("dd", {}, ...quoted(loss[key])));
      parts.facts.replaceChildren(...[["Host", "host"], ["Engine", "engine"], ["Database", "database"], ["Gone", "gone"]].map(row));
      mine.isTold = true;
      allow();
    } catch (error) {
      if (asked === mine) parts.refusal.textContent = error.message;
    }
  };

  const ask = (button) => {
    const data = { ...button.dataset };
    asked = { ...actions[data.act](data), name: data.name, opener: button };
    parts.title.textContent = asked.title;
    parts.text.textContent = asked.text;
    parts.refusal.textContent = "";
    parts.fields.replaceChildren(...(asked.fields || []).map(field));
    if (asked.confirm) {
      const typed = element("input", { type: "text", name: "confirm", autocomplete: "off", spellcheck: "false", autocapitalize: "off", required: "" });
      typed.addEventListener("input", allow);
      parts.fields.prepend(element("label", {}, element("span", {}, "Type ", element("code", {}, asked.confirm), " to confirm"), typed));
    }
    parts.facts.replaceChildren();
    parts.go.textContent = asked.go;
    allow();
    parts.go.classList.toggle("danger", Boolean(asked.danger));
    dialog.showModal();
    if (asked.loss) tellLoss(asked);
  };

  const say = (id, tone, text, progress) => {
    let line = document.getElementById(id);
    if (!line) {
      line = element("div", { id });
      live.append(line);
    }
    line.className = tone;
    // What is heard changes with the words, not with every byte.
    if (line.dataset.said !== text) {
      line.dataset.said = text;
      line.replaceChildren(element("span", {}, text));
      if (progress === undefined) {
        const close = element("button", { type: "button" }, "Close");
        close.addEventListener("click", () => line.remove());
        line.append(close);
      } else {
        line.append(element("progress", { "aria-label": "in progress" }), element("small", { "aria-hidden": "true" }));
      }
    }
    const count = line.querySelector("small");
    if (count) count.textContent = progress || "";
  };

  const refresh = async () => {
    const answer = await fetch(location.pathname + location.search, { cache: "no-store" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    // What somebody is typing is not taken from them.
    if (fresh && !dialog.open && document.activeElement?.id !== "q") {
      const focused = document.activeElement && document.activeElement.id;
      document.querySelector("main").replaceWith(fresh);
      if (focused) document.getElementById(focused)?.focus();
    }
  };

  const words = { create: "Backing up", restore: "Restoring", verify: "Proving" };
  const done = { create: "Backed up", restore: "Restored", verify: "Proven" };

  const watch = (id) => {
    if (watched.has(id)) return;
    watched.set(id, true);
    const look = async () => {
      let job;
      try {
        job = await call("GET", `/api/backup/jobs/${encodeURIComponent(id)}`);
      } catch (error) {
        say(id, "doubt", `The server does not answer (${error.message}). Looking again …`, "");
        setTimeout(look, 3000);
        return;
      }
      const what = job.backup_name || job.database || "the database";
      if (job.state === "running") {
        say(id, "", `${words[job.task]} ${what}${job.phase ? `: ${job.phase}` : ""} …`, job.bytes > 0 ? bytes(job.bytes) : "");
        setTimeout(look, 500);
        return;
      }
      const bad = job.task === "verify" && job.state === "succeeded" && job.result && job.result.verified === false;
      if (job.state === "succeeded" && !bad) say(id, "good", `${done[job.task]}: ${what}`);
      else say(id, "bad", bad ? `${what} failed verification` : `${words[job.task]} ${what}: ${job.state}. ${(job.result && job.result.error) || ""}`);
      await refresh();
    };
    look();
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-act]");
    if (button) ask(button);
  });
  document.getElementById("ask-no")?.addEventListener("click", () => dialog.close());
  dialog?.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (asked.confirm && event.target.elements.confirm.value !== asked.confirm) return;
    const values = {};
    for (const input of event.target.elements) {
      if (input.name) values[input.name] = input.type === "checkbox" ? input.checked : input.value.trim();
    }
    parts.go.disabled = true;
    parts.refusal.textContent = "";
    try {
      const answer = await asked.run(values);
      dialog.close();
      if (answer.job && answer.location) watch(answer.job);
      else {
        say(`done-${Date.now()}`, "good", `Deleted: ${answer.backup_name}`);
        await refresh();
      }
    } catch (error) {
      parts.refusal.textContent = error.message;
      parts.go.disabled = false;
    }
  });

  for (const job of document.querySelectorAll("[data-running]")) watch(job.dataset.running);
  // What is going on is looked at every two seconds, the rest twice a minute.
  let looks = 0;
  if (live) setInterval(() => {
    looks += 1;
    if (looks % 15 === 0 || document.querySelector("[data-live]")) refresh();
  }, 2000);
})();
