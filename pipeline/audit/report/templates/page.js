// One sound at a time: starting a player stops the one before.
document.addEventListener("play", function (event) {
  document.querySelectorAll("audio").forEach(function (player) {
    if (player !== event.target) player.pause();
  });
}, true);
