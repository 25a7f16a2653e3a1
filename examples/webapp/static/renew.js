// Continues at once. If that fails, a button is shown to try again.

import { announce } from "./page.js";
import { continueTo } from "./session.js";

const form = document.getElementById("renew");
continueTo(form.elements.next.value).catch((error) => {
  console.warn(error);
  form.hidden = false;
  announce("That did not work. Please try again in a moment.");
});
