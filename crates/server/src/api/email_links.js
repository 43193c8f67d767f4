// The page behind the links of mails: asks, posts the token that stands behind the #, and says what came of it.
"use strict";
const element = (id) => document.getElementById(id);
const resets = location.pathname.endsWith("/reset-password");
const token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
element("title").textContent = resets ? "Choose a new password" : "Confirm your email address";
element("button").textContent = resets ? "Set the password" : "Yes, this is my address";
element("label").hidden = element("password").hidden = !resets;
element("password").required = resets;
element("form").hidden = false;
element("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  element("button").disabled = true;
  element("said").textContent = "";
  try {
    const answer = await fetch(resets ? "/v1/auth/reset-password" : "/v1/auth/verify-email", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(resets ? { token, password: element("password").value } : { token }),
    });
    if (answer.ok) {
      element("form").hidden = true;
      element("said").textContent = resets ? "The password is set. You can sign in with it." : "Thank you: the address is confirmed.";
      return;
    }
    const problem = await answer.json();
    const first = (problem.errors || [])[0];
    element("said").textContent = first ? first.detail : problem.detail || problem.title;
  } catch {
    element("said").textContent = "The server could not be reached. Please try again.";
  }
  element("button").disabled = false;
});
