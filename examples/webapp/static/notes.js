// Adds and deletes notes, without a new page.

import { announce, enable, localTimes, run } from "./page.js";
import { send } from "./session.js";

const list = document.getElementById("notes");
const empty = document.getElementById("empty");
const heading = document.getElementById("heading");
const composer = document.getElementById("composer");
const text = document.getElementById("text");

// The draft is kept if the user has to sign in again before it is sent.
const draft = `draft of ${composer.dataset.user}`;
text.value ||= sessionStorage.getItem(draft) ?? "";
text.addEventListener("input", () => sessionStorage.setItem(draft, text.value));

function show(note) {
  const item = document.getElementById("note").content.firstElementChild.cloneNode(true);
  item.dataset.id = note.id;
  item.querySelector(".text").textContent = note.text;
  item.querySelector("time").dateTime = note.created;
  item.querySelector(".remove").ariaLabel = `Delete note: ${note.text.slice(0, 40)}`;
  localTimes(item);
  enable(item);
  list.prepend(item);
  empty.hidden = true;
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  run(event.submitter ?? composer, async () => {
    const written = text.value;
    show(await (await send("POST", "/notes", { text: written })).json());
    // Text that was typed in the meantime is the next note.
    if (text.value === written) {
      text.value = "";
      sessionStorage.removeItem(draft);
    }
    text.focus();
    announce("Note added.");
  });
});

text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) composer.requestSubmit();
});

list.addEventListener("click", (event) => {
  const button = event.target.closest(".remove");
  if (!button) return;
  run(button, async () => {
    const item = button.closest(".note");
    await send("DELETE", `/notes/${item.dataset.id}`);
    const next = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    empty.hidden = list.childElementCount > 0;
    (next?.querySelector(".remove") ?? heading).focus();
    announce("Note deleted.");
  });
});

for (const button of document.querySelectorAll(".dismiss")) {
  button.addEventListener("click", () =>
    run(button, async () => {
      const notice = button.closest(".notice");
      await send("DELETE", `/notices/${notice.dataset.id}`);
      notice.remove();
      heading.focus();
    }),
  );
}

enable(document.getElementById("main"));
