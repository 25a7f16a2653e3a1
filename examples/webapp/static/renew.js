// Goes on at once. If that fails, there is a button to try again with.

import { announce } from "./page.js";
import { goOn } from "./session.js";

const form = document.getElementById("renew");
goOn(form.elements.next.value).catch((error) => {
  console.warn(error);
  form.hidden = false;
  announce("That did not work. Please try again in a moment.");
});
