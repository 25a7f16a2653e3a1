// Signs devices out and renames them, without a new page.

import { announce, enable, run } from "./page.js";
import { send } from "./session.js";

const list = document.getElementById("devices");
const heading = document.getElementById("heading");
const others = document.getElementById("end-others");

function remove(items) {
  for (const item of items) item.remove();
  others.hidden = list.childElementCount < 2;
  heading.focus();
}

list.addEventListener("click", (event) => {
  const button = event.target.closest(".end");
  if (!button) return;
  run(button, async () => {
    const item = button.closest(".device");
    await send("DELETE", `/auth/sessions/${item.dataset.sid}`);
    const title = item.querySelector(".title").textContent;
    remove([item]);
    announce(`${title} is signed out.`);
  });
});

others.addEventListener("click", () =>
  run(others, async () => {
    await send("DELETE", "/auth/sessions");
    remove(list.querySelectorAll(".device:not(.this)"));
    announce("You are signed out everywhere else.");
  }),
);

list.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  run(event.submitter ?? form, async () => {
    const name = form.elements.name.value.trim();
    await send("PUT", `/devices/${form.closest(".device").dataset.sid}`, { name });
    // Without a name, the server names it after its browser.
    location.reload();
  });
});

enable(document.getElementById("main"));
