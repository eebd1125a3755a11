// What is said to those who do not see the page.

/** Have screen readers say `text`; it is shown nowhere. */
export function say(text) {
  const box = document.getElementById('announcements');
  if (!box) return;
  box.textContent = '';
  requestAnimationFrame(() => {
    box.textContent = text;
  });
}
